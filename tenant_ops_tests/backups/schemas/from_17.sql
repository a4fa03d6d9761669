-- What came with Postgres 17.
CREATE COLLATION builtin (provider = builtin, locale = 'C.UTF-8');
CREATE TABLE numbered (id integer GENERATED ALWAYS AS IDENTITY (START 10), at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE numbered_2026 PARTITION OF numbered FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE spanned (id integer, at date, EXCLUDE USING btree (id WITH =, at WITH =)) PARTITION BY LIST (id);
CREATE TABLE spanned_1 PARTITION OF spanned FOR VALUES IN (1);
INSERT INTO numbered (at) VALUES ('2026-05-05');
GRANT MAINTAIN ON numbered TO THE_EDITOR;
