-- Types, functions, operators, casts, collations, text search. Run as the owner, with the schema first in the path.
CREATE TYPE "enum with ""quotes"" and %s" AS ENUM ('b', 'c');
ALTER TYPE "enum with ""quotes"" and %s" ADD VALUE 'a' BEFORE 'b';
ALTER TYPE "enum with ""quotes"" and %s" ADD VALUE 'between' AFTER 'b';
CREATE TYPE empty_composite AS ();
CREATE TYPE nested AS (first integer, "second one" text COLLATE "C", third numeric(5, 2)[]);
CREATE TYPE deeper AS (inner_one nested, more nested[]);
CREATE DOMAIN positive AS integer CONSTRAINT above_zero CHECK (VALUE > 0) CONSTRAINT below CHECK (VALUE < 1000000);
CREATE DOMAIN small_positive AS positive DEFAULT 7 CONSTRAINT given NOT NULL CHECK (VALUE < 100);
CREATE DOMAIN many_positive AS positive[] CHECK (cardinality(VALUE) < 10);
CREATE DOMAIN code AS varchar(10) COLLATE "C";
CREATE FUNCTION text_distance(a text, b text) RETURNS double precision LANGUAGE sql IMMUTABLE
    AS $$ SELECT (length(a) - length(b))::double precision $$;
CREATE TYPE text_range AS RANGE (
    subtype = text, subtype_opclass = text_pattern_ops, collation = "C", subtype_diff = text_distance,
    multirange_type_name = text_ranges
);
-- A check that calls a function that takes its domain, and a domain whose check does not hold for old values.
CREATE DOMAIN even AS integer;
CREATE FUNCTION number_of(VARIADIC evens even[]) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT cardinality(evens)';
ALTER DOMAIN even ADD CONSTRAINT is_even CHECK (VALUE % 2 = 0 AND number_of(VARIADIC '{}'::even[]) = 0);
CREATE DOMAIN lately AS integer;
CREATE TABLE of_domains (small small_positive, many many_positive, even even, late lately, code code);
INSERT INTO of_domains VALUES (5, '{1,2}', 4, -1, 'x');
ALTER DOMAIN lately ADD CONSTRAINT since_lately CHECK (VALUE > 0) NOT VALID;

CREATE FUNCTION many_ways(a integer, INOUT b text, OUT c numeric, VARIADIC d integer[] DEFAULT '{1,2}')
    RETURNS record LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER PARALLEL RESTRICTED COST 42
    SET search_path = pg_catalog, pg_temp SET work_mem = '1MB' SET "DateStyle" = 'ISO, DMY'
    AS $f$ BEGIN c := a; b := b || 'it''s "%s" \'; END $f$;
CREATE FUNCTION any_first(anyarray, anycompatible DEFAULT NULL) RETURNS anyelement LANGUAGE sql IMMUTABLE
    AS 'SELECT $1[1]';
CREATE FUNCTION parsed(a integer, b text DEFAULT 'x''y') RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 3
    RETURN b || a::text || E'\n LANGUAGE sql AS ';
CREATE FUNCTION rows_of(n integer DEFAULT 3, OUT x integer, OUT y text) RETURNS SETOF record
    LANGUAGE sql ROWS 77 PARALLEL SAFE AS 'SELECT g, g::text FROM generate_series(1, n) g';
CREATE FUNCTION table_of(n integer) RETURNS TABLE (x integer, "the y" nested) LANGUAGE plpgsql
    AS $$ BEGIN RETURN QUERY SELECT n, ROW(n, 'a', NULL)::nested; END $$;
CREATE FUNCTION nothing_at_all() RETURNS void LANGUAGE sql BEGIN ATOMIC END;
CREATE FUNCTION overloaded(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION overloaded(text) RETURNS integer LANGUAGE sql AS 'SELECT 2';
CREATE PROCEDURE in_and_out(INOUT a integer, OUT c integer, IN b text DEFAULT 'x')
    LANGUAGE plpgsql AS $$ BEGIN c := a; END $$;
COMMENT ON PROCEDURE in_and_out(integer, integer, text) IS 'there and back';

CREATE FUNCTION add_up(state numeric, value numeric, weight numeric) RETURNS numeric LANGUAGE sql IMMUTABLE
    AS 'SELECT state + value * weight';
CREATE FUNCTION take_off(state numeric, value numeric, weight numeric) RETURNS numeric LANGUAGE sql IMMUTABLE
    AS 'SELECT state - value * weight';
CREATE FUNCTION both_of(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
CREATE FUNCTION rounded(numeric) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1::integer';
CREATE AGGREGATE weighted_sum(value numeric, weight numeric) (
    SFUNC = add_up, STYPE = numeric, SSPACE = 64, FINALFUNC = rounded, FINALFUNC_MODIFY = SHAREABLE,
    COMBINEFUNC = both_of, INITCOND = '0',
    MSFUNC = add_up, MINVFUNC = take_off, MSTYPE = numeric, MFINALFUNC = rounded, MINITCOND = '0', PARALLEL = SAFE
);
CREATE AGGREGATE least_of(integer) (SFUNC = int4smaller, STYPE = integer, SORTOP = <);
CREATE AGGREGATE count_all(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '0');
CREATE FUNCTION last_of(state integer[], integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT state[1]';
CREATE FUNCTION keep_one(state integer[], integer) RETURNS integer[] LANGUAGE sql IMMUTABLE AS 'SELECT ARRAY[$2]';
CREATE AGGREGATE at_fraction(integer ORDER BY integer) (
    SFUNC = keep_one, STYPE = integer[], FINALFUNC = last_of, INITCOND = '{}'
);
COMMENT ON AGGREGATE at_fraction(integer ORDER BY integer) IS 'ordered';
COMMENT ON AGGREGATE count_all(*) IS 'all of them';
REVOKE EXECUTE ON FUNCTION weighted_sum(numeric, numeric) FROM PUBLIC;

CREATE FUNCTION same_parity(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT ($1 - $2) % 2 = 0';
CREATE FUNCTION other_parity(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT ($1 - $2) % 2 <> 0';
CREATE OPERATOR === (
    FUNCTION = same_parity, LEFTARG = integer, RIGHTARG = integer, COMMUTATOR = ===, NEGATOR = !==,
    RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
CREATE OPERATOR !== (FUNCTION = other_parity, LEFTARG = integer, RIGHTARG = integer, NEGATOR = ===, COMMUTATOR = !==);
CREATE OPERATOR @# (FUNCTION = text_distance, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION shouted(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
CREATE OPERATOR !! (FUNCTION = shouted, RIGHTARG = text);
COMMENT ON OPERATOR === (integer, integer) IS 'both odd or both even';
COMMENT ON OPERATOR !! (NONE, text) IS 'loud';

CREATE FUNCTION nested_of(integer) RETURNS nested LANGUAGE sql IMMUTABLE AS 'SELECT ROW($1, NULL, NULL)::nested';
CREATE FUNCTION number_of(nested, integer, boolean) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT ($1).first';
CREATE CAST (integer AS nested) WITH FUNCTION nested_of(integer) AS ASSIGNMENT;
CREATE CAST (nested AS integer) WITH FUNCTION number_of(nested, integer, boolean);
CREATE CAST (text AS "enum with ""quotes"" and %s") WITH INOUT AS IMPLICIT;
COMMENT ON CAST (integer AS nested) IS 'first of three';

CREATE COLLATION plain (provider = libc, locale = 'C');
COMMENT ON COLLATION plain IS 'bytes';
CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE DEFAULT CONVERSION unlatin FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;
COMMENT ON CONVERSION latin IS 'western';
CREATE TEXT SEARCH DICTIONARY stemmed (TEMPLATE = snowball, language = english, stopwords = english);
CREATE TEXT SEARCH DICTIONARY "as it is" (TEMPLATE = pg_catalog.simple, accept = false);
CREATE TEXT SEARCH CONFIGURATION searching (PARSER = default);
ALTER TEXT SEARCH CONFIGURATION searching ADD MAPPING FOR asciiword, word WITH "as it is", stemmed;
ALTER TEXT SEARCH CONFIGURATION searching ADD MAPPING FOR int WITH pg_catalog.simple;
COMMENT ON TEXT SEARCH DICTIONARY stemmed IS 'roots';
COMMENT ON TEXT SEARCH CONFIGURATION searching IS 'words';

-- All of them used: dependencies decide the order.
CREATE TABLE uses (
    n integer CHECK (n === 2 OR n !== 2),
    word text COLLATE plain,
    label "enum with ""quotes"" and %s" DEFAULT 'c',
    deep deeper,
    span text_range,
    spans text_ranges,
    found tsvector GENERATED ALWAYS AS (to_tsvector('searching'::regconfig, word)) STORED
);
CREATE INDEX uses_shouted ON uses ((!! word));
CREATE VIEW sums AS SELECT weighted_sum(n, 2) AS sum, least_of(n), count_all(*), at_fraction(1) WITHIN GROUP (ORDER BY n) FROM uses;
INSERT INTO uses (n, word, deep, span, spans)
VALUES (2, 'the cats', ROW(ROW(1, 'x', '{1.5}'), '{}'), '[a,c)', '{[a,b),[x,y]}');
