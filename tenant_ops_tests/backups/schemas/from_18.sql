-- What came with Postgres 18.
CREATE TABLE virtual (
    a integer CONSTRAINT a_given NOT NULL, b integer GENERATED ALWAYS AS (a * 2) VIRTUAL, c text,
    d integer GENERATED ALWAYS AS (a + 1), e integer CONSTRAINT alone NOT NULL NO INHERIT,
    CONSTRAINT wished CHECK (c <> '') NOT ENFORCED
);
CREATE TABLE virtual_heir (c text CONSTRAINT own_name NOT NULL) INHERITS (virtual);
INSERT INTO virtual (a, c, e) VALUES (1, '', 1), (2, NULL, 2);
ALTER TABLE virtual ADD CONSTRAINT c_given NOT NULL c NOT VALID;
COMMENT ON CONSTRAINT a_given ON virtual IS 'named';
CREATE TABLE lasting (id int4range, during daterange, what text, PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE lasting_within (
    id int4range, during daterange, of int4range,
    CONSTRAINT contained FOREIGN KEY (of, PERIOD during) REFERENCES lasting (id, PERIOD during)
);
INSERT INTO lasting VALUES ('[1,2)', '[2026-01-01,2026-06-01)', 'x'), ('[1,2)', '[2026-06-01,)', 'y');
INSERT INTO lasting_within VALUES ('[1,2)', '[2026-05-01,2026-07-01)', '[1,2)');
CREATE TABLE hoped (id integer PRIMARY KEY, up integer CONSTRAINT hoped_for REFERENCES hoped NOT ENFORCED);
INSERT INTO hoped VALUES (1, 99);
CREATE TABLE cut (id integer NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE cut_1 PARTITION OF cut (CONSTRAINT another_name NOT NULL id) FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
ALTER TABLE cut ADD CONSTRAINT later_key FOREIGN KEY (id) REFERENCES hoped NOT VALID;
CREATE INDEX gathered ON hoped USING gin ((ARRAY[id, up]));
