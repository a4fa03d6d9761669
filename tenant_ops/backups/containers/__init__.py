"""Where the files of one backup lie: a folder, a zip or a tar, in whatever store.

`container.py` says what reading needs of such a place; `places.py` are the folder and the packed file;
`zips.py` and `tars.py` take packed files apart in place, `packing.py` makes them. Not here: what the files
mean (`backups/reading.py`), how they are written (`backups/archive.py`), stores (`backups/stores/`).
"""

from tenant_ops.backups.containers.container import (
    FORMATS,
    KEY_SUFFIX,
    PACKED,
    Container,
    Files,
    Format,
    check_format,
    format_of,
)
from tenant_ops.backups.containers.local import LocalFiles
from tenant_ops.backups.containers.packing import pack
from tenant_ops.backups.containers.places import (
    Directory,
    Loose,
    Packed,
    container_in,
    container_of,
    read_small,
)

__all__ = [
    "FORMATS",
    "KEY_SUFFIX",
    "PACKED",
    "Container",
    "Directory",
    "Files",
    "Format",
    "LocalFiles",
    "Loose",
    "Packed",
    "check_format",
    "container_in",
    "container_of",
    "format_of",
    "pack",
    "read_small",
]
