SELECT owner_id FROM playlists GROUP BY owner_id, title HAVING count(*) > 1;
