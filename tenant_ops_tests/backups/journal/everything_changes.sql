-- Changes to what everything_rows.sql made; run more than once, each with another DAY.
UPDATE people SET name = name || 'x', ratio = ratio * 2, born = 'infinity' WHERE id % 4 = 0;
DELETE FROM people WHERE id IN (SELECT id FROM people ORDER BY id LIMIT 2);
UPDATE people SET home = ROW(E'new\nline\t\\ "q" \'', NULL, '{NULL,"",x}')::address,
    doc = '{"a": "\\u00fc"}'
    WHERE id = (SELECT max(id) FROM people);
INSERT INTO referring VALUES (2, 'k2', 5), (2, 'k2', 5);
UPDATE referring SET loose = 7 WHERE ctid = (SELECT min(ctid) FROM referring WHERE loose = 5);
INSERT INTO nothing DEFAULT VALUES;
INSERT INTO scratch VALUES (3);
INSERT INTO events VALUES ('2026-05-DAY', 3, 'hi'), ('2025-05-DAY', 4, 'ho'), ('2030-01-DAY', 5, 'x');
UPDATE events SET at = '2026-01-DAY 11:11', note = 'moved' WHERE note = 'ho';
UPDATE big SET kind = 'kk' WHERE n = 1;
INSERT INTO child VALUES (77, 'c', 'e');
UPDATE parent SET kind = 'zz' WHERE id = 77;
UPDATE "Mixed ""Case"" tëble.with.dots" SET "a b" = '%s', "percent %s" = -1 WHERE "select" = 1;
