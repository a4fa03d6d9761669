ALTER TABLE playlists ADD CONSTRAINT playlists_owner_id_title_key UNIQUE (owner_id, title);
