"""Files that many tenants load: read, parsed and checked once, then copied to each of them.

Here: keeping the pieces of a file on disk until everybody has had them. Not here: how pieces come about
(`pieces.py`), loading many tenants (`many.py`).

The spool has no name in the file system: it is gone with the process, however that ends.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO, Any

import orjson
import zstandard

from tenant_ops.datasets import Dataset
from tenant_ops.loading.ledger import fingerprint
from tenant_ops.loading.pieces import Piece, Pieces, read_pieces
from tenant_ops.loading.quarantine import BadRow
from tenant_ops.loading.reports import Drifted, LoadPlan, SourceFile
from tenant_ops.tenants import Fleet, Tenant

_LEVEL = 1
"""Of zstd: a third of the bytes for a twentieth of the time that checking them took."""


class PreparedFiles:
    """A spool to be used by all the loads of one source; inside a `with` block.

    The first load that needs a file prepares it whole, the others wait for that and copy. When preparing
    fails, the load that did it fails and the next one tries again. Loads need the same of a file when its
    bytes, its dataset's definition, its place in the load and how it is read are the same.

    Args:
        folder: Where the spool lies, readable by nobody else; it takes about a third of what is read. None
            is the system's temporary folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.files_read = 0
        self._folder = folder
        self._entries: dict[tuple[Any, ...], _Entry] = {}
        self._lock = Lock()
        self._files = ExitStack()

    def __enter__(self) -> "PreparedFiles":
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    @contextmanager
    def pieces(
        self,
        fleet: Fleet,
        tenant: Tenant,
        dataset: Dataset,
        plan: LoadPlan,
        file: SourceFile,
        number: int,
        *,
        batch_rows: int,
    ) -> Iterator[Pieces]:
        """A file as pieces, as `read_pieces` gives them: from the spool, once they are there.

        Where rows depend on the tenant they are read anew.
        """
        read = partial(read_pieces, fleet, tenant, dataset, plan, file, number, batch_rows=batch_rows)
        if dataset.tenant_dependent or file.format == "quarantine":
            with read() as pieces:
                yield pieces
            return
        part = plan.of(dataset.name)
        how = (fingerprint(dataset, plan), part.cursor, part.after, number, batch_rows)
        key = (dataset.name, file.name, file.path, file.sha256, file.part, file.member, *how)
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
        with entry.lock:
            if entry.spool is None:
                with read() as pieces:
                    entry.spool = self._write(pieces)
        yield _SpooledPieces(entry.spool)

    def _write(self, pieces: Pieces) -> "_Spool":
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile(dir=self._folder, buffering=0))
            frames = tuple(_frames(file, pieces))
            spool = _Spool(file, frames, pieces.encoding, pieces.drift, pieces.samples)
            with self._lock:
                self.files_read += 1
                self._files.push(stack.pop_all())
        return spool


@dataclass
class _Entry:
    """What is known of one file; `lock` is held while it is prepared."""

    lock: Lock = field(default_factory=Lock)
    spool: "_Spool | None" = None


@dataclass(frozen=True)
class _Frame:
    """Where a piece lies in the spool, and what is in it.

    Attributes:
        piece: All of it but its text and its bad rows.
        at: Where they begin in the spool.
        length: How many bytes they take there.
        split: How many bytes of them, unpacked, are text.
        read: Rows of the batch.
    """

    piece: Piece
    at: int
    length: int
    split: int
    read: int


@dataclass(frozen=True)
class _Spool:
    """A prepared file."""

    file: IO[bytes]
    frames: tuple[_Frame, ...]
    encoding: str
    drift: tuple[Drifted, ...]
    samples: dict[str, list[str]]

    def piece(self, frame: _Frame) -> Piece:
        """Fetch a piece; several threads may at once."""
        packed = os.pread(self.file.fileno(), frame.length, frame.at)
        content = memoryview(zstandard.ZstdDecompressor().decompress(packed))
        bad = [
            BadRow(line, tuple((column, reason) for column, reason in faults), raw)
            for line, faults, raw in orjson.loads(content[frame.split :])
        ]
        kept = frame.piece
        return Piece(kept.columns, content[: frame.split], kept.good, bad, kept.passed_over, kept.bytes)


class _SpooledPieces:
    """A prepared file on its way to one tenant."""

    def __init__(self, spool: _Spool) -> None:
        self._spool = spool
        self._frames = iter(spool.frames)

    def skip(self, batches: int) -> tuple[int, int]:
        skipped = [frame for _, frame in zip(range(batches), self._frames, strict=False)]
        return sum(frame.read for frame in skipped), sum(frame.piece.bytes for frame in skipped)

    def __iter__(self) -> Iterator[Piece]:
        return map(self._spool.piece, self._frames)

    @property
    def encoding(self) -> str:
        return self._spool.encoding

    @property
    def drift(self) -> tuple[Drifted, ...]:
        return self._spool.drift

    @property
    def samples(self) -> dict[str, list[str]]:
        return self._spool.samples


def _frames(file: IO[bytes], pieces: Pieces) -> Iterator[_Frame]:
    packer = zstandard.ZstdCompressor(level=_LEVEL)
    at = 0
    for piece in pieces:
        bad = orjson.dumps([(row.line, row.faults, row.raw) for row in piece.bad], default=str)
        packed = packer.compress(b"".join((piece.text, bad)))
        file.write(packed)
        kept = Piece(piece.columns, b"", piece.good, [], piece.passed_over, piece.bytes)
        yield _Frame(kept, at, len(packed), len(piece.text), piece.read)
        at += len(packed)
