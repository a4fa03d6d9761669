-- What came with Postgres 16.
CREATE TABLE stored (word text STORAGE MAIN, bytes bytea STORAGE EXTERNAL, usual text STORAGE DEFAULT);
CREATE TABLE stored_heir (own text) INHERITS (stored);
