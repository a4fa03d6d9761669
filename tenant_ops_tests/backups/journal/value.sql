INSERT INTO value (
    id, plain, padded, short, exact, wide, narrow, day, local, at, span, raw, couple, couples, filled, old, doc,
    ints, longs, hour, zoned, price, ip, mac, bits, some_bits, words, search, path, spot, area, uid, number,
    name, one, many
) VALUES (
    %(id)s, %(text)s, 'a', 'ab ', (ARRAY['NaN', 'Infinity', '1.500', '-0.00'])[1 + %(id)s %% 4]::numeric,
    (ARRAY['NaN', '-Infinity', '-0', '0.1'])[1 + %(id)s %% 4]::float8, 1e-30,
    (ARRAY['infinity', '-infinity', '4713-01-01 BC', '5874897-12-31'])[1 + %(id)s %% 4]::date,
    '0044-03-15 BC 12:00:00.000001', '2026-03-29 02:30:00.1239+02', '-1 mon +2 days -00:00:00.000001',
    '\x005c0a27ff', ROW(ROW(%(text)s, ARRAY[1, NULL])::inner_pair, NULL)::pair,
    ARRAY[ROW(NULL, %(text)s)::pair, NULL], %(text)s, to_json(%(text)s::text), to_jsonb(%(text)s::text),
    '(,5]', '{[1,3),[7,)}', '24:00', '00:00-15:59', '-$1,234.50', '::1/128', '08:00:2b:01:02:03:04:05',
    B'101', B'', to_tsvector('simple', %(text)s), 'a & !b', '$.a[*] ? (@ > 1)', '(1e-300,-0)', '((0,0),(1,1))',
    gen_random_uuid(), 4294967295, 'a name', '\377', ARRAY[[%(text)s, NULL], ['', 'x']]
)
