-- Collations of ICU, for servers that have it.
CREATE COLLATION phonebook (provider = icu, locale = 'de-u-co-phonebk');
CREATE COLLATION careless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE words (a text COLLATE phonebook, b text COLLATE careless UNIQUE, c text COLLATE "de-x-icu");
CREATE INDEX words_c ON words (c COLLATE "fr-x-icu", (a || c) COLLATE careless);
INSERT INTO words VALUES ('Ä', 'x', 'y');
