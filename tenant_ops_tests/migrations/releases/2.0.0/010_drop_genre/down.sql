ALTER TABLE artists ADD COLUMN genre text;
ALTER TABLE artists ADD CONSTRAINT artists_genre_check CHECK (char_length(genre) >= 1 AND char_length(genre) <= 60);
