-- The oldest keeps its title, the others are numbered.
UPDATE playlists p SET title = p.title || ' (' || later.place || ')'
FROM (
    SELECT playlist_id, row_number() OVER (PARTITION BY owner_id, title ORDER BY created_at, playlist_id) AS place
    FROM playlists
) later
WHERE later.playlist_id = p.playlist_id AND later.place > 1;
