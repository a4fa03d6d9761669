-- Rows for everything.sql: every type, and the values that break careless copies.
INSERT INTO big SELECT g, 'k' || g FROM generate_series(1, 10) g;
INSERT INTO people (ticket, name, mail, feeling, home, likes, scores, many, balance, ratio, flags, blob, doc, old, ip,
                    span, search, spot, born)
SELECT 5, 'p' || g, 'a' || g || '@b.org', 'it''s "fine"', ROW('x"y', NULL, '{a,"b,c",NULL}')::address, '{sad,ok}',
       '[1,5)', '{[1,2),[4,5)}', g * 1.5, 'NaN', '10101', decode(md5(g::text), 'hex'), '{"a": 1.50, "ü": null}',
       '{"z":  1}', '10.0.0.1/8', '1 mon -2 days 03:04:05.6', 'a & b', '(1.5,-2)', '-infinity'
FROM generate_series(1, 500) g;
INSERT INTO people (ticket, name, mail, ratio, balance, boss, born)
VALUES (NULL, E'tab\tnew\nline\r\\back\\N', 'x@y.z', 'Infinity', NULL, 100, '2000-02-29'),
       (1, '\N', 'n@y.z', -0.0, 0.00, 102, NULL),
       (2, '', 'e@y.z', 1e-300, 9999999999.99, NULL, '5874897-12-31'),
       (3, '日本語 \. 🎵', 'u@y.z', 0.1, 0.1, NULL, NULL);
INSERT INTO "Mixed ""Case"" tëble.with.dots" ("percent %s") VALUES (1), (2);
INSERT INTO nothing SELECT FROM generate_series(1, 3);
INSERT INTO scratch VALUES (1), (NULL);
INSERT INTO referring VALUES (1, 'k1', 3), (NULL, NULL, NULL);
INSERT INTO events SELECT '2025-06-01'::timestamptz + g * interval '40 days', g % 10 + 1, 'n' || g
FROM generate_series(0, 20) g;
INSERT INTO parent VALUES (1, 'p'), (2, NULL);
INSERT INTO child VALUES (3, 'c', 'extra');
REFRESH MATERIALIZED VIEW tally;
REFRESH MATERIALIZED VIEW a_tally_of_tallies;
