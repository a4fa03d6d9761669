"""Small archives made without a database, for the tests of the format."""

from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from tenant_ops.backups import records
from tenant_ops.backups.archive import ArchiveWriter, Published, TenantKey
from tenant_ops.backups.codec import Codec
from tenant_ops.backups.containers import Container
from tenant_ops.backups.layout import (
    FORMAT,
    VERSION,
    Header,
    KeyBlock,
    Manifest,
    SequenceValue,
    TableContent,
    TenantKeyFile,
    new_backup_id,
)
from tenant_ops.platform.keys import MasterKey

TENANT = str(UUID(int=1))
OTHER_TENANT = str(UUID(int=2))
KEY = TenantKey("0c1b6a3e-0000-4000-8000-000000000001", bytes(range(32)))
OTHER_KEY = TenantKey("0c1b6a3e-0000-4000-8000-000000000002", bytes(range(1, 33)))
MASTER = MasterKey.from_bytes(bytes(reversed(range(32))), "test")
MASTER_TEXT = b64encode(bytes(reversed(range(32)))).decode()
ROWS = b"1\tone\n2\ttwo\n"
NAMES = {
    "schema": "t_abc",
    "stage": "s_abc",
    "owner": "t_abc_own",
    "admin": "t_abc_adm",
    "editor": "t_abc_edt",
    "viewer": "t_abc_vwr",
    "app": "t_abc_app",
}


def make_archive(
    root: Path,
    *,
    tenant_id: str = TENANT,
    key: TenantKey | None = KEY,
    codec: Codec = "zstd",
    rows: bytes = ROWS,
    backup_id: str | None = None,
) -> Published:
    """Publish an archive with one table below `root`, and its tenant key beside it."""
    backup_id = backup_id or new_backup_id(datetime(2026, 11, 20, 14, 3, tzinfo=UTC))
    header = Header(FORMAT, VERSION, tenant_id, backup_id, "full", None, "2026-11-20T14:03:00Z", codec, None)
    writer = ArchiveWriter(root / tenant_id, header, tenant_key=key, level=1)
    writer.add("schema/statements.json", "schema", b"[]")
    writer.add("data/0001-plays.copy", "data", rows)
    writer.add("README.txt", "readme", b"read me", readable=True)
    table = TableContent("plays", ("id", "name"), rows.count(b"\n"), "0" * 32, (writer.members[1].path,))
    manifest = Manifest(
        version=VERSION,
        tenant_id=tenant_id,
        backup_id=backup_id,
        header_sha256="",
        parent_manifest_sha256=None,
        taken_at="2026-11-20T14:03:00Z",
        snapshot="1:1:",
        server={},
        tenant={"slug": "acme", "names": NAMES},
        schema_sha256="",
        row_hash="xxh3_128_sum",
        members=(),
        tables=(table,),
        sequences=(SequenceValue("plays_id_seq", 3, True),),
    )
    published = writer.publish(manifest)
    if key:
        write_key_file(root / tenant_id, tenant_id, key)
    return published


def write_key_file(folder: Path, tenant_id: str, key: TenantKey) -> Path:
    """Keep the tenant's key beside its backups, wrapped by `MASTER`."""
    context = f"test/{tenant_id}/{key.id}"
    wrapped = b64encode(MASTER.seal(key.secret, context)).decode()
    path = folder / "keys" / f"{key.id}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(records.encode(TenantKeyFile(1, tenant_id, key.id, "", MASTER.id, context, wrapped)))
    return path


def has_key(key: TenantKey = KEY):
    """A key finder that always answers with `key`."""

    def find(_container: Container, _header: Header, _block: KeyBlock) -> TenantKey:
        return key

    return find
