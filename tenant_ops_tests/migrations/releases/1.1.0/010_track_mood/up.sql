ALTER TABLE tracks ADD COLUMN mood text;
UPDATE tracks SET mood = CASE WHEN duration_ms < 180000 THEN 'bright' ELSE 'calm' END WHERE NOT explicit;
ALTER TABLE tracks ADD CONSTRAINT tracks_mood_check CHECK (mood IN ('bright', 'calm'));
CREATE INDEX tracks_mood_idx ON tracks (mood);
