-- A column of every type, and some of types made here.
CREATE TYPE inner_pair AS (a text, b integer[]);
CREATE TYPE pair AS (x inner_pair, y text);
CREATE DOMAIN filled AS text NOT NULL CHECK (VALUE <> 'x');
CREATE TABLE value (
    id integer PRIMARY KEY, plain text, padded char(5), short varchar(3), exact numeric, wide double precision,
    narrow real, day date, local timestamp, at timestamptz(3), span interval, raw bytea, couple pair,
    couples pair[], filled filled, old json, doc jsonb, ints int4range, longs int8multirange, hour time,
    zoned timetz, price money, ip inet, mac macaddr8, bits bit(3), some_bits varbit, words tsvector,
    search tsquery, path jsonpath, spot point, area polygon, uid uuid, number oid, name name, one "char",
    many text[][], twice integer GENERATED ALWAYS AS (id * 2) STORED
);
