"""The files to load: one big one, and those of the rows it refers to."""

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
from pyarrow import csv

DATASET = "listening_events"
USERS, ARTISTS, TRACKS, SESSIONS = 10_000, 200, 2_000, 20_000
_BLOCK = 200_000
_YEAR = 31_000_000


def write_files(folder: Path, rows: int, seed: int = 1) -> Path:
    """Write `listening_events.csv`, and `parents/` with the rows it refers to; returns the former."""
    random = np.random.default_rng(seed)
    (folder / "parents").mkdir(parents=True)
    users, tracks, sessions = _write_parents(folder / "parents", random)
    path = folder / f"{DATASET}.csv"
    start = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
    with path.open("wb") as file:
        for first in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - first)
            # Events arrive in the order they happened.
            seconds = (
                start + _YEAR * first // rows + np.sort(random.integers(0, _YEAR * count // rows, count))
            )
            played_at = arrow.array(seconds * 1_000, arrow.timestamp("ms", tz="UTC"))
            block = arrow.table(
                {
                    "event_id": _uuids(random, count),
                    "user_id": random.choice(users, count),
                    "track_id": random.choice(tracks, count),
                    "session_id": arrow.array(
                        random.choice(sessions, count), mask=random.random(count) < 0.2
                    ),
                    "played_ms": random.integers(0, 400_000, count),
                    "completed": random.random(count) < 0.7,
                    "source": random.choice(["library", "playlist", "search", "agent", "radio"], count),
                    "played_at": played_at.cast(arrow.string()),
                }
            )
            csv.write_csv(block, file, csv.WriteOptions(include_header=first == 0, quoting_style="needed"))
    return path


def take(file: Path, rows: int, target: Path) -> Path:
    """A copy of the file's header and first rows."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with file.open("rb") as source, target.open("wb") as copy:
        copy.writelines(islice(source, rows + 1))
    return target


def split(file: Path, rows: int, parts: int, folder: Path) -> Path:
    """A folder with the file's rows in so many files."""
    (folder / DATASET).mkdir(parents=True)
    with file.open("rb") as source:
        header = next(source)
        for part in range(parts):
            with (folder / DATASET / f"part-{part + 1}.csv").open("wb") as piece:
                piece.write(header)
                piece.writelines(islice(source, -(-rows // parts)))
    return folder


def _write_parents(folder: Path, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    users, artists = _uuids(random, USERS), _uuids(random, ARTISTS)
    tracks, sessions = _uuids(random, TRACKS), _uuids(random, SESSIONS)
    now = np.full(max(USERS, ARTISTS, SESSIONS), "2024-01-01T00:00:00Z")
    _write(
        folder / "users.csv",
        user_id=users,
        email=[f"user{number}@bench.example" for number in range(USERS)],
        display_name=["Somebody"] * USERS,
        role=["viewer"] * USERS,
        status=["active"] * USERS,
        created_at=now[:USERS],
    )
    _write(
        folder / "artists.csv",
        artist_id=artists,
        name=["Artist"] * ARTISTS,
        followers=["0"] * ARTISTS,
        created_at=now[:ARTISTS],
    )
    _write(
        folder / "tracks.csv",
        track_id=tracks,
        artist_id=random.choice(artists, TRACKS),
        title=["Title"] * TRACKS,
        duration_ms=["180000"] * TRACKS,
        explicit=["false"] * TRACKS,
    )
    _write(
        folder / "sessions.csv",
        session_id=sessions,
        user_id=random.choice(users, SESSIONS),
        device=["web"] * SESSIONS,
        started_at=now[:SESSIONS],
    )
    return users, tracks, sessions


def _write(path: Path, **columns: Any) -> None:
    csv.write_csv(arrow.table(columns), path, csv.WriteOptions(quoting_style="needed"))


def _uuids(random: np.random.Generator, count: int) -> np.ndarray:
    """Version 4, made by the array: a million take half a second instead of four."""
    octets = random.integers(0, 256, (count, 16), dtype=np.uint8)
    octets[:, 6] = octets[:, 6] & 0x0F | 0x40
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.full((count, 36), ord("-"), np.uint8)
    places = [place for place in range(36) if place not in {8, 13, 18, 23}]
    text[:, places[::2]], text[:, places[1::2]] = digits[octets >> 4], digits[octets & 0x0F]
    return text.view("S36").ravel().astype("U36")
