"""What may be in a packed backup: the names of its members, and nothing else.

Here: the rules every packed format shares. Not here: how each of them is taken apart (`zips.py`, `tars.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenant_ops.backups.crypto import DamagedBackup
from tenant_ops.backups.layout import BACKUP_ID, MEMBER_PATH

MOST_ENTRIES = 100_000
"""A packed backup with more is refused while its listing is read: 5,000 tables make some 5,100 members."""


@dataclass(frozen=True)
class Entry:
    """Where the bytes of a member lie.

    Attributes:
        at: Offset of its first byte in the file, or in what the file decompresses to.
        size: Of the member.
        packed: Bytes it takes there.
        deflated: Whether those are to be inflated.
    """

    at: int
    size: int
    packed: int
    deflated: bool = False


@dataclass
class Listing:
    """Collects the entries of one packed file, and refuses what cannot be in a backup.

    Names are those of members, all of them below one folder named like a backup or none of them. That leaves
    no room for `..`, absolute paths, drives, backslashes and NUL.

    Attributes:
        where: Names the file.
    """

    where: str
    _entries: dict[str, Entry] = field(default_factory=dict)
    _folded: set[str] = field(default_factory=set)
    _top: str | None = None
    _count: int = 0

    def add(self, name: str, entry: Entry) -> None:
        """Take a regular file.

        Raises:
            DamagedBackup: its name is no member's, or there already; it is named.
        """
        self._counted()
        path = self._below_top(name)
        if not MEMBER_PATH.fullmatch(path):
            raise self.refused(name, "it is no path of a member.")
        if path.casefold() in self._folded:
            raise self.refused(name, "it is there twice.")
        self._folded.add(path.casefold())
        self._entries[path] = entry

    def add_folder(self, name: str) -> None:
        """Take a folder, which members alone make needless.

        Raises:
            DamagedBackup: no member could lie in it.
        """
        self._counted()
        path = self._below_top(name.rstrip("/") + "/").rstrip("/")
        if path not in ("", ".") and not MEMBER_PATH.fullmatch(f"{path}/x"):
            raise self.refused(name, "it is no folder of a backup.")

    def refused(self, name: str, problem: str) -> DamagedBackup:
        """The error that names an entry."""
        return DamagedBackup(problem, where=f"{self.where}, {name[:300]!r}")

    def entries(self) -> Mapping[str, Entry]:
        """What was taken."""
        return self._entries

    def _counted(self) -> None:
        self._count += 1
        if self._count > MOST_ENTRIES:
            raise DamagedBackup(f"it has more than {MOST_ENTRIES:,} entries.", where=self.where)

    def _below_top(self, name: str) -> str:
        path = name.removeprefix("./")
        first, slash, rest = path.partition("/")
        top, path = (first, rest) if slash and BACKUP_ID.fullmatch(first) else ("", path)
        if path and self._top not in (None, top):
            raise self.refused(name, "it lies in another folder than what is before it.")
        if path:
            self._top = top
        return path
