-- A schema with one of everything an application may make. Run as its owner, with the schema first in the path.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s "fine"', 'ünïcode');
CREATE DOMAIN email AS text COLLATE "C" DEFAULT 'nobody@example.org' NOT NULL
    CONSTRAINT looks_like_one CHECK (VALUE ~ '^[^@\s]+@[^@\s]+$');
CREATE TYPE address AS (street text, "post code" varchar(10), tags text[]);
CREATE TYPE score_range AS RANGE (subtype = numeric, multirange_type_name = score_multirange);
COMMENT ON TYPE mood IS 'how a listener feels';
COMMENT ON COLUMN address.street IS 'with the number';
COMMENT ON CONSTRAINT looks_like_one ON DOMAIN email IS 'rough';
COMMENT ON DOMAIN email IS 'an address';

CREATE FUNCTION shout(t text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT upper(t) || '!' $$;
CREATE FUNCTION is_positive(n integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
    AS $body$ BEGIN RETURN n > 0; /* $$ ' */ END $body$;

CREATE SEQUENCE ticket_numbers AS smallint INCREMENT BY 5 MINVALUE -10 MAXVALUE 3000 START 20 CACHE 3 CYCLE;
COMMENT ON SEQUENCE ticket_numbers IS 'by fives';

CREATE TABLE people (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 100 INCREMENT BY 2) PRIMARY KEY,
    uid uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    name text COLLATE "C" NOT NULL,
    mail email,
    feeling mood DEFAULT 'ok',
    home address,
    loud text GENERATED ALWAYS AS (shout(name)) STORED,
    boss bigint REFERENCES people ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    ticket smallint DEFAULT nextval('ticket_numbers'),
    born date CHECK (born > '1900-01-01' OR born = '-infinity'),
    likes mood[] DEFAULT '{}',
    scores score_range,
    many score_multirange,
    seen timestamptz(3) DEFAULT now(),
    balance numeric(12, 2),
    ratio double precision,
    flags bit(5),
    blob bytea,
    doc jsonb DEFAULT '{"a": [1, 2, {"b": null}]}',
    old json,
    ip inet,
    span interval,
    search tsvector,
    spot point,
    CONSTRAINT "odd ""name"" %s" CHECK (is_positive(ticket::integer) OR ticket IS NULL)
) WITH (fillfactor = 70, toast.autovacuum_enabled = false);
ALTER TABLE people ALTER COLUMN blob SET STORAGE EXTERNAL;
ALTER TABLE people ALTER COLUMN name SET STATISTICS 500;
ALTER TABLE people ALTER COLUMN ip SET (n_distinct = -0.5);
ALTER TABLE people ALTER COLUMN doc SET COMPRESSION pglz;
COMMENT ON TABLE people IS 'it''s a table with \ and $$ and t_nothing';
COMMENT ON COLUMN people.name IS 'the name';
COMMENT ON CONSTRAINT people_pkey ON people IS 'key';
CREATE INDEX people_name ON people USING btree (lower(name), id DESC NULLS LAST) INCLUDE (mail)
    WITH (fillfactor = 80) WHERE feeling <> 'sad';
CREATE INDEX people_doc ON people USING gin (doc jsonb_path_ops);
CREATE INDEX people_loud ON people (shout(name));
CREATE UNIQUE INDEX people_mail ON people (mail) NULLS NOT DISTINCT;
COMMENT ON INDEX people_name IS 'for searches';
ALTER TABLE people CLUSTER ON people_loud;
CREATE STATISTICS people_stats (dependencies, ndistinct) ON feeling, born FROM people;
COMMENT ON STATISTICS people_stats IS 'related';

CREATE TABLE "Mixed ""Case"" tëble.with.dots" (
    "select" serial PRIMARY KEY,
    "a b" text DEFAULT E'tab\tand \\ and ''quote''',
    "percent %s" integer,
    EXCLUDE USING btree ("percent %s" WITH =)
);
ALTER TABLE "Mixed ""Case"" tëble.with.dots" REPLICA IDENTITY FULL;
COMMENT ON COLUMN "Mixed ""Case"" tëble.with.dots"."a b" IS 'dots';
CREATE TABLE nothing ();
CREATE UNLOGGED TABLE scratch (a integer);
CREATE TABLE big (n bigint PRIMARY KEY, kind text NOT NULL, UNIQUE (n, kind));
CREATE TABLE referring (
    n bigint, kind text, loose bigint,
    FOREIGN KEY (n, kind) REFERENCES big (n, kind) MATCH FULL ON UPDATE CASCADE
);
ALTER TABLE referring ADD CONSTRAINT loose_fk FOREIGN KEY (loose) REFERENCES big NOT VALID;
ALTER TABLE referring ADD CONSTRAINT loose_check CHECK (loose > 0) NOT VALID;
ALTER TABLE big REPLICA IDENTITY USING INDEX big_n_kind_key;

CREATE TABLE events (at timestamptz NOT NULL, who bigint, note text, PRIMARY KEY (at, who)) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
    PARTITION BY HASH (who);
CREATE TABLE events_2026_0 PARTITION OF events_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_2026_1 PARTITION OF events_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE INDEX events_note ON events (note);
ALTER TABLE events ADD CONSTRAINT sane CHECK (who > 0);
ALTER TABLE events ADD FOREIGN KEY (who) REFERENCES big;

CREATE TABLE parent (id integer PRIMARY KEY, kind text DEFAULT 'parent', CHECK (id > 0));
CREATE TABLE child (extra text) INHERITS (parent);
ALTER TABLE child ALTER COLUMN kind SET DEFAULT 'child';

CREATE FUNCTION people_named(wanted text) RETURNS SETOF people LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT * FROM people WHERE name = wanted ORDER BY id; END;
CREATE PROCEDURE forget(who bigint) LANGUAGE plpgsql AS $$ BEGIN DELETE FROM people WHERE id = who; END $$;
COMMENT ON FUNCTION shout(text) IS 'loud';
COMMENT ON PROCEDURE forget(bigint) IS 'gone';

CREATE VIEW happy AS SELECT id, name AS "the name", mail FROM people WHERE feeling <> 'sad';
CREATE VIEW boss_of WITH (security_barrier = true) AS
    SELECT p.id, b.name, count(*) OVER () AS n FROM people p LEFT JOIN people b ON b.id = p.boss;
CREATE VIEW grouped AS SELECT p.id, p.name, count(e.note) FROM people p LEFT JOIN events e ON e.who = p.id GROUP BY p.id;
CREATE VIEW a_first AS SELECT * FROM happy WHERE mail LIKE '%@%' WITH LOCAL CHECK OPTION;
CREATE RECURSIVE VIEW counting (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM counting WHERE n < 5;
ALTER VIEW happy ALTER COLUMN "the name" SET DEFAULT 'somebody';
CREATE MATERIALIZED VIEW tally AS SELECT feeling, count(*) AS n FROM people GROUP BY feeling;
CREATE UNIQUE INDEX tally_feeling ON tally (feeling);
CREATE MATERIALIZED VIEW a_tally_of_tallies AS SELECT sum(n) AS total FROM tally WITH DATA;
CREATE MATERIALIZED VIEW unfilled AS SELECT 1 AS one WITH NO DATA;
COMMENT ON VIEW happy IS 'not sad';
COMMENT ON MATERIALIZED VIEW tally IS 'counted';

CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT
    AS $$ BEGIN NEW.seen := now(); RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE UPDATE OF name, mail ON people FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name)
    EXECUTE FUNCTION stamp('an argument', 'with '' quote');
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON people DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE FUNCTION untouched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER part AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION untouched();
ALTER TABLE people DISABLE TRIGGER late;
ALTER TABLE people ENABLE ALWAYS TRIGGER stamp;
COMMENT ON TRIGGER stamp ON people IS 'when';
CREATE RULE keep AS ON DELETE TO big WHERE old.n < 0 DO INSTEAD NOTHING;
COMMENT ON RULE keep ON big IS 'negative ones stay';

ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY see_own ON people FOR SELECT USING (name = current_user OR id < 1000);
CREATE POLICY no_cats ON people AS RESTRICTIVE FOR INSERT TO public WITH CHECK (name <> 'cat');
COMMENT ON POLICY see_own ON people IS 'mostly';
REVOKE EXECUTE ON PROCEDURE forget(bigint) FROM PUBLIC;
COMMENT ON SCHEMA CURRENT_SCHEMA_NAME IS 'a schema';
