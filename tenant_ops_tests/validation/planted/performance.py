"""Planted faults, performance level: what makes a tenant slow."""

PERFORMANCE = {
    "two indexes alike": (
        ["CREATE INDEX artists_again ON artists (name)"],
        {
            "schema.extra_index/artists.artists_again": 1,
            "performance.duplicate_index/artists.artists_name_idx": 1,
        },
    ),
    "a sequence near its end": (
        [
            "SET ROLE $own",
            "CREATE SEQUENCE tickets AS integer",
            "SELECT setval('tickets', 2000000000)",
        ],
        {"performance.sequence_exhaustion/sequence tickets": 1},
    ),
}
