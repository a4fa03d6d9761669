-- An application that does everything that makes logging changes hard.
CREATE TABLE account (
    id integer PRIMARY KEY, name text NOT NULL, n integer NOT NULL DEFAULT 0, touched integer NOT NULL DEFAULT 0,
    twice integer GENERATED ALWAYS AS (n * 2) STORED
);
CREATE TABLE item (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account integer NOT NULL REFERENCES account ON DELETE CASCADE ON UPDATE CASCADE, v integer
);
CREATE TABLE tag (account integer REFERENCES account ON DELETE SET NULL ON UPDATE CASCADE, word text);
CREATE TABLE pair (
    a integer, b text, v double precision, at timestamptz, day date, span interval, raw bytea, PRIMARY KEY (a, b)
);
CREATE TABLE spread (k integer, region text, v integer, PRIMARY KEY (k, region)) PARTITION BY LIST (region);
CREATE TABLE spread_eu PARTITION OF spread FOR VALUES IN ('eu');
CREATE TABLE spread_us PARTITION OF spread FOR VALUES IN ('us') PARTITION BY HASH (k);
CREATE TABLE spread_us_0 PARTITION OF spread_us FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE spread_us_1 PARTITION OF spread_us FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE spread_rest PARTITION OF spread DEFAULT;
CREATE TABLE heap (n integer, word text) PARTITION BY RANGE (n);
CREATE TABLE heap_low PARTITION OF heap FOR VALUES FROM (MINVALUE) TO (50);
CREATE TABLE heap_high PARTITION OF heap FOR VALUES FROM (50) TO (MAXVALUE);
CREATE TABLE slot (id integer PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v integer);
CREATE TABLE only_key (id integer PRIMARY KEY);
-- Nobody truncates this one: transactions that stay open for long write to it.
CREATE TABLE slow (id integer PRIMARY KEY, v integer);
CREATE TABLE tally (name text PRIMARY KEY, n bigint NOT NULL);
CREATE TABLE mother (id integer PRIMARY KEY, v integer);
CREATE TABLE daughter (extra text) INHERITS (mother);
INSERT INTO tally VALUES ('accounts', 0);

-- Rows change on their way in, again right after, and other tables with them.
CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.name := trim(NEW.name); RETURN NEW; END $$;
CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON account FOR EACH ROW EXECUTE FUNCTION tidy();
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF pg_trigger_depth() < 2 THEN UPDATE account SET touched = touched + 1 WHERE id = NEW.id; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER touch AFTER INSERT OR UPDATE ON account FOR EACH ROW EXECUTE FUNCTION touch();
CREATE FUNCTION drop_odd() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN DELETE FROM only_key WHERE id = NEW.id AND id % 7 = 0; RETURN NULL; END $$;
CREATE TRIGGER drop_odd AFTER INSERT ON only_key FOR EACH ROW EXECUTE FUNCTION drop_odd();
CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN UPDATE tally SET n = (SELECT count(*) FROM account) WHERE name = 'accounts'; RETURN NULL; END $$;
CREATE TRIGGER zz_count AFTER INSERT OR DELETE ON account FOR EACH STATEMENT EXECUTE FUNCTION count_up();
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN INSERT INTO tag VALUES (NULL, 'item ' || NEW.id); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.v % 5 = 0) EXECUTE FUNCTION at_commit();
