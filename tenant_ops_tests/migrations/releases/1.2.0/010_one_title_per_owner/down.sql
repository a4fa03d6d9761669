ALTER TABLE playlists DROP CONSTRAINT playlists_owner_id_title_key;
