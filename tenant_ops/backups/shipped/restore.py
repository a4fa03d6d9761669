#!/usr/bin/env python3
"""Check and unpack one tenant-ops backup, without tenant-ops and without a database.

    python restore.py verify DIR
    python restore.py unpack DIR --to EMPTY_DIR [--schema NAME]

Needs Python 3.11 and `cryptography`; members that end in .zst also need `zstandard` (unpack leaves them
compressed without it, for the `zstd` program). The master key is read from BACKUP_ENCRYPTION_KEY or
--key-file, never from the command line. The format is described in docs/backup-format.md of tenant-ops.
"""

import argparse
import base64
import gzip
import hashlib
import hmac
import json
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path, PurePosixPath

SEGMENT = 1 << 20
MEMBER_PATH = re.compile(r"^(?:[a-z]+/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")
SEQUENCE = "SELECT pg_catalog.setval({}, {}, {});\n"


class Refused(Exception):
    """The backup cannot be used; the message says why."""


class Stream:
    """Decrypts one sealed member (Tink AES256_GCM_HKDF_1MB); returns authenticated bytes only."""

    def __init__(self, file, key, context, name):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        header = file.read(40)
        if len(header) != 40 or header[0] != 40:
            raise Refused(f"{name}: this is not a sealed member")
        derived = HKDF(algorithm=SHA256(), length=32, salt=header[1:33], info=context.encode()).derive(key)
        self.cipher, self.prefix = AESGCM(derived), header[33:]
        self.file, self.name, self.number = file, name, 0
        self.ahead, self.plain, self.ended = file.read(SEGMENT - 40), b"", False

    def read(self, size=-1):
        """At most `size` bytes, everything when negative."""
        if size < 0:
            return b"".join(iter(lambda: self.read(SEGMENT), b""))
        while not self.plain and not self.ended:
            sealed, self.ahead = self.ahead, self.file.read(SEGMENT)
            self.ended = not self.ahead
            nonce = self.prefix + self.number.to_bytes(4, "big") + bytes([self.ended])
            try:
                self.plain = self.cipher.decrypt(nonce, sealed, None)
            except Exception:
                raise Refused(f"{self.name}: segment {self.number + 1} was changed, cut or moved") from None
            self.number += 1
        piece, self.plain = self.plain[:size], self.plain[size:]
        return piece


class Backup:
    """One backup directory, its key and its manifest."""

    def __init__(self, folder, arguments):
        self.folder = Path(folder)
        if not (self.folder / "COMPLETE").is_file():
            raise Refused(f"{folder}: no COMPLETE file, so this is not a complete backup")
        header_bytes = (self.folder / "backup.json").read_bytes()
        self.header, complete = json.loads(header_bytes), self.json("COMPLETE")
        if self.header["format"] != "tenant_ops backup" or self.header["version"] != 1:
            raise Refused("backup.json: another format or version than this program reads")
        if hashlib.sha256(header_bytes).hexdigest() != complete["header_sha256"]:
            raise Refused("backup.json: changed after it was written")
        self.sealed = self.header["cipher"] is not None
        self.key = self.find_key(arguments) if self.sealed else None
        name = "manifest.json.enc" if self.sealed else "manifest.json"
        stored = (self.folder / name).read_bytes()
        if hashlib.sha256(stored).hexdigest() != complete["manifest_sha256"]:
            raise Refused(f"{name}: not the manifest that was completed")
        with (self.folder / name).open("rb") as file:
            source = self.stream(file, name, "manifest") if self.sealed else file
            self.manifest = json.loads(source.read())
        mine = (self.header["tenant_id"], self.header["backup_id"], complete["header_sha256"])
        if (self.manifest["tenant_id"], self.manifest["backup_id"], self.manifest["header_sha256"]) != mine:
            raise Refused(f"{name}: belongs to another backup")
        for member in self.manifest["members"]:
            if not MEMBER_PATH.match(member["path"]):
                raise Refused(f"{name}: {member['path']!r} is no path of a member")

    def json(self, name):
        """One of the small documents."""
        return json.loads((self.folder / name).read_bytes())

    def stream(self, file, path, kind):
        """The decrypted content of a sealed file."""
        context = "|".join(("tenant_ops/1", self.header["tenant_id"], self.header["backup_id"], path, kind))
        return Stream(file, self.key, context, path)

    def find_key(self, arguments):
        """The key of this backup, from an exported key, or master key -> tenant key -> backup key."""
        block = self.json("key.json")
        key_id = block["tenant_key_id"]
        if arguments.exported_key:
            tenant_key = base64.b64decode(json.loads(Path(arguments.exported_key).read_bytes())["key"])
        else:
            path = Path(arguments.tenant_key or self.folder.resolve().parent / "keys" / f"{key_id}.json")
            if not path.is_file():
                raise Refused(f"{path}: the tenant's key is not there; name its file with --tenant-key")
            file = json.loads(path.read_bytes())
            tenant_key = unwrap(file["wrapped"], master_key(arguments), file["context"], "master key")
        check(tenant_key, block["tenant_key_check"], "the tenant key")
        context = "|".join(
            ("tenant_ops/1", "backup-key", self.header["tenant_id"], self.header["backup_id"], key_id)
        )
        key = unwrap(block["wrapped_key"], tenant_key, context, "tenant key")
        check(key, block["key_check"], "the backup key")
        return key

    def content(self, member, *, decompress=True):
        """A member as a stream of its content, after its stored bytes were compared with the manifest."""
        path = self.folder / member["path"]
        if path.is_symlink() or path.stat().st_size != member["stored_bytes"]:
            raise Refused(f"{member['path']}: not the {member['stored_bytes']} bytes that were written")
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(SEGMENT):
                digest.update(piece)
        if digest.hexdigest() != member["stored_sha256"]:
            raise Refused(f"{member['path']}: its hash is not the one in the manifest")
        file = path.open("rb")
        source = self.stream(file, member["path"], member["kind"]) if member["sealed"] else file
        if decompress and member["codec"] == "zstd":
            import zstandard

            return zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)  # type: ignore
        if decompress and member["codec"] == "gzip":
            return gzip.GzipFile(fileobj=source)  # type: ignore
        return source

    def read(self, kind):
        """The JSON content of the only member of a kind."""
        member = next(member for member in self.manifest["members"] if member["kind"] == kind)
        return json.loads(self.content(member).read())


def master_key(arguments):
    """32 bytes from BACKUP_ENCRYPTION_KEY or --key-file: base64, or a passphrase through scrypt."""
    if arguments.key_file:
        text = Path(arguments.key_file).read_text().strip()
    else:
        text = os.environ.get("BACKUP_ENCRYPTION_KEY", "").strip()
    if not text:
        raise Refused("this backup is sealed: set BACKUP_ENCRYPTION_KEY or give --key-file")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) == 32:
        return raw
    return hashlib.scrypt(
        text.encode(), salt=b"tenant_ops/master-key/1", n=2**16, r=8, p=1, dklen=32, maxmem=1 << 27
    )


def unwrap(wrapped, key, context, what):
    """A wrapped key, opened."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    data = base64.b64decode(wrapped)
    try:
        return AESGCM(key).decrypt(data[:12], data[12:], context.encode())
    except Exception:
        raise Refused(f"the {what} at hand is not the one this backup was sealed with") from None


def check(key, expected, what):
    """Compare a key with its public check value."""
    if hmac.new(key, b"tenant_ops/key-check/1", hashlib.sha256).hexdigest()[:32] != expected:
        raise Refused(f"{what} at hand is not the one this backup was sealed with")


def verify(backup):
    """Read every member to its end; what was found, as a sentence."""
    for member in backup.manifest["members"]:
        size, source = 0, backup.content(member)
        while piece := source.read(SEGMENT):
            size += len(piece)
        if size != member["raw_bytes"]:
            raise Refused(f"{member['path']}: {size} bytes of content, {member['raw_bytes']} were written")
    count = len(backup.manifest["members"])
    rows = sum(table["rows"] for table in backup.manifest["tables"])
    return f"sound: {count} members, {len(backup.manifest['tables'])} tables, {rows} rows"


def unpack(backup, target, schema):
    """Write the content as ordinary files that psql understands; what was done, as a sentence."""
    target = Path(target)
    if target.exists() and any(target.iterdir()):
        raise Refused(f"{target}: not empty")
    names = dict(backup.manifest["tenant"]["names"])
    schema = schema or names["schema"]
    for folder in ("schema", "data", "files", "config"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    write_schema(backup, target / "schema", {**names, "schema": schema, "text:schema": schema})
    write_data(backup, target / "data", schema)
    write_files(backup, target / "files")
    for member in backup.manifest["members"]:
        if member["kind"] == "config":
            (target / "config" / "config.json").write_bytes(backup.content(member).read())
    return f"unpacked into {target}"


def write_schema(backup, folder, names):
    """The statements, in three files."""
    files = {"pre": "1-before-data.sql", "post": "2-after-data.sql", "rights": "3-rights.sql"}
    head = "SET search_path = '';\nSET check_function_bodies = off;\n"
    texts = dict.fromkeys(files, head)
    for statement in backup.read("schema"):
        texts[statement["section"]] += f"{rendered(statement['sql'], names)};\n"
    texts["post"] += "".join(
        SEQUENCE.format(
            literal(f"{quoted(names['schema'])}.{quoted(sequence['name'])}"),
            sequence["value"],
            "true" if sequence["called"] else "false",
        )
        for sequence in backup.manifest["sequences"]
    )
    for section, name in files.items():
        (folder / name).write_text(texts[section], encoding="utf-8")


def rendered(sql, names):
    """A statement with the tenant's own names put in."""
    if isinstance(sql, str):
        return sql
    return "".join(part if isinstance(part, str) else names[part["name"]] for part in sql)


def write_data(backup, folder, schema):
    """Every table as COPY text, and the psql script that loads them."""
    members = {member["path"]: member for member in backup.manifest["members"]}
    lines = ["SET datestyle = ISO, MDY;\nSET timezone = 'UTC';\nSET intervalstyle = postgres;\n"]
    for number, table in enumerate(backup.manifest["tables"], 1):
        safe = re.sub(r"[^A-Za-z0-9_]", "_", table["name"])
        columns = ", ".join(quoted(column) for column in table["columns"])
        suffix = loose_suffix(table, members)
        name = f"{number:04}-{safe}.copy"
        with (folder / f"{name}{suffix}").open("wb") as out:
            for part in table["parts"]:
                shutil.copyfileobj(backup.content(members[part], decompress=not suffix), out, SEGMENT)
        source = f"program 'zstd -dc data/{name}.zst'" if suffix else f"'data/{name}'"
        columns = f" ({columns})" if columns else ""
        lines.append(f"\\copy {quoted(schema)}.{quoted(table['name'])}{columns} from {source}\n")
    (folder / "load.sql").write_text("".join(lines), encoding="utf-8")


def loose_suffix(table, members):
    """`.zst` when the rows must stay compressed because the zstandard package is not here."""
    if any(members[part]["codec"] == "zstd" for part in table["parts"]):
        try:
            import zstandard  # noqa: F401
        except ImportError:
            return ".zst"
    return ""


def write_files(backup, folder):
    """The tenant's files: regular files below `folder`, nothing else, whatever the tar says."""
    for member in backup.manifest["members"]:
        if member["kind"] != "files":
            continue
        with tarfile.open(fileobj=backup.content(member), mode="r|") as tar:
            for entry in tar:
                path = PurePosixPath(entry.name)
                if path.is_absolute() or ".." in path.parts or not (entry.isreg() or entry.isdir()):
                    raise Refused(f"{member['path']}: {entry.name!r} is not a file below the folder")
                # By hand: tarfile's own safe way came with Python 3.11.4, and Debian 12 has 3.11.2.
                target = folder.joinpath(*path.parts)
                (target if entry.isdir() else target.parent).mkdir(parents=True, exist_ok=True)
                if source := tar.extractfile(entry):
                    with source, target.open("xb") as out:
                        shutil.copyfileobj(source, out, SEGMENT)
                    target.chmod(entry.mode & 0o755)
                    os.utime(target, (entry.mtime, entry.mtime))


def quoted(name):
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("verify", "unpack"))
    parser.add_argument("backup", metavar="DIR")
    parser.add_argument("--to", metavar="EMPTY_DIR", help="where unpack writes")
    parser.add_argument("--schema", help="name of the schema to restore into")
    parser.add_argument("--key-file", help="file with the master key, instead of BACKUP_ENCRYPTION_KEY")
    parser.add_argument("--tenant-key", help="the tenant's key file, when it is not in ../keys")
    parser.add_argument("--exported-key", help="an exported key, used instead of the master key")
    arguments = parser.parse_args()
    if arguments.command == "unpack" and not arguments.to:
        parser.error("unpack needs --to")
    try:
        backup = Backup(arguments.backup, arguments)
        if arguments.command == "verify":
            done = verify(backup)
        else:
            done = unpack(backup, arguments.to, arguments.schema)
    except (Refused, OSError, ValueError, KeyError) as error:
        sys.exit(f"refused: {error!s}")
    sys.stdout.write(f"{done}\n")


if __name__ == "__main__":
    main()
