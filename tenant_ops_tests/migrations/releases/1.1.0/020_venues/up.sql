CREATE TABLE venues (
    venue_id  uuid NOT NULL,
    artist_id uuid NOT NULL,
    name      text NOT NULL,
    CONSTRAINT venues_pkey PRIMARY KEY (venue_id),
    CONSTRAINT venues_artist_id_fkey FOREIGN KEY (artist_id) REFERENCES artists (artist_id) ON DELETE CASCADE
);
CREATE INDEX venues_artist_id_idx ON venues (artist_id);
