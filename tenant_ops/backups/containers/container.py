"""What reading needs of the place where backups lie.

Here: the two protocols, and the names of the formats. Not here: any such place (`directory.py`, `packed.py`,
`backups/stores/`).
"""

from collections.abc import Iterator
from typing import BinaryIO, Literal, Protocol, get_args

from tenant_ops.platform.errors import InputError

Format = Literal["dir", "zip", "tar", "tar.gz", "tar.zst"]
FORMATS: tuple[Format, ...] = get_args(Format)
PACKED: tuple[Format, ...] = FORMATS[1:]
"""The formats that are one file, named `<backup id>.<format>`."""

KEY_SUFFIX = ".key.json"
"""`<backup id>.key.json` beside a packed backup stands for the `key.json` inside it, and wins over that."""


class Files(Protocol):
    """The files of one tenant's backups, by name below its folder in a store; to read."""

    def at(self, name: str) -> str:
        """The path or URL of a file, for people and the catalog."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file to read, seekable; links are not followed. Raises OSError."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when there is no such file."""
        ...

    def names(self, below: str) -> Iterator[str]:
        """Every file, link or other thing that is not a folder below a folder, named from there."""
        ...


class Container(Protocol):
    """The files of one backup, by name; names hold `/` between folder and file."""

    @property
    def name(self) -> str:
        """The backup's id, when nobody renamed it."""
        ...

    @property
    def where(self) -> str:
        """The path or URL, for people and the catalog."""
        ...

    @property
    def format(self) -> Format:
        """A folder, or which kind of file."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file to read, seekable; links are not followed. Raises OSError."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when there is no such file."""
        ...

    def names(self) -> Iterator[str]:
        """Every file, link or other thing in it that is not a folder."""
        ...

    def sibling(self, backup_id: str) -> "Container":
        """Where another backup of the same tenant would lie, in any format; it need not exist."""
        ...

    def beside(self, name: str) -> bytes | None:
        """A small file that lies beside the tenant's backups; None when there is none."""
        ...


def check_format(name: str) -> Format:
    """The format of that name.

    Raises:
        InputError: there is none.
    """
    for known in FORMATS:
        if name == known:
            return known
    raise InputError(
        f"{name!r} is no format of a backup.", where="format", fix=f"Use one of: {', '.join(FORMATS)}."
    )


def format_of(file_name: str) -> Format | None:
    """Which kind of packed backup a file is by its name; None for any other file."""
    return next((known for known in PACKED if file_name.endswith(f".{known}")), None)
