SELECT track_id FROM tracks WHERE mood IS NULL AND NOT explicit;
