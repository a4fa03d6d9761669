#!/usr/bin/env python3
"""Check and unpack one tenant-ops backup, without tenant-ops and without a database.

    python restore.py verify BACKUP
    python restore.py unpack BACKUP --to EMPTY_DIR [--schema NAME]

Needs Python 3.11 and `cryptography`; members that end in .zst also need the package `zstandard` or the
program `zstd`. BACKUP is a directory, a zip or a tar; unpack a .tar.zst with tar first. One that builds on
others (`parent` in backup.json) needs these beside it, named by their ids. The master key is read from
BACKUP_ENCRYPTION_KEY or --key-file, never from the command line. The format is described in
docs/backup-format.md of tenant-ops.
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
import subprocess
import sys
import tarfile
import threading
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

SEGMENT = 1 << 20
MEMBER_PATH = re.compile(r"^(?:[a-z]+/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")
TOP = re.compile(r"^(?:\./)?(?:[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}/)?")
SEQUENCE = "SELECT pg_catalog.setval({}, {}, {});\n"
SESSION = "SET datestyle = ISO, MDY;\nSET timezone = 'UTC';\nSET intervalstyle = postgres;\n"
ENTRY = "seq, xid, committed_at, tbl, op, body"
ENTRIES = """CREATE TABLE {}.entries (part integer, seq bigint, xid xid8, committed_at timestamptz,
    tbl text, op "char", body text);
"""
# Its row type reads the text of a row, or of a key.
MADE = "CREATE TABLE {} AS SELECT {} FROM {} LIMIT 0;\n"
# Entries are applied up to each TRUNCATE of the table, and between them as sets.
BY_ENTRIES = """
DO $apply$ DECLARE stop record; start bigint := -1; BEGIN
FOR stop IN SELECT seq, tbl FROM {entries} WHERE op = 't' AND {told}
            UNION ALL SELECT 9223372036854775807, NULL ORDER BY 1 LOOP
    CREATE TEMP TABLE told AS SELECT seq, op, body FROM {entries}
        WHERE op <> 't' AND {told} AND seq > start AND seq < stop.seq;
{steps}
    DROP TABLE told, result;
    IF stop.tbl IS NOT NULL THEN EXECUTE format('TRUNCATE %I.%I', {schema}, stop.tbl); END IF;
    start := stop.seq;
END LOOP; END $apply$;
"""
# The newest entry of each key is its row, or says that there is none.
STATE = """
    CREATE TEMP TABLE result AS SELECT DISTINCT ON (k) k, r FROM (
        SELECT seq, ROW({key_of_r})::{key} AS k, r
            FROM (SELECT seq, body::{row} AS r FROM told WHERE op = 's') s
        UNION ALL SELECT seq, body::{key}, NULL FROM told WHERE op = 'd') e ORDER BY k, seq DESC;
    DELETE FROM {table} t USING result WHERE ROW({key_of_t})::{key} = result.k;
    INSERT INTO {table}{into} OVERRIDING SYSTEM VALUE
        SELECT (r).* FROM result WHERE r IS DISTINCT FROM NULL;
"""
# Rows added less rows taken away; equal rows are told apart by nothing but their number.
ROWS = """
    CREATE TEMP TABLE result AS
        SELECT body, sum(CASE op WHEN '+' THEN 1 ELSE -1 END) AS n FROM told GROUP BY body;
    DELETE FROM {table} WHERE (tableoid, ctid) IN (
        SELECT c.tableoid, c.ctid FROM (
            SELECT t.tableoid, t.ctid, ROW({row_of_t})::text AS body,
                   row_number() OVER (PARTITION BY ROW({row_of_t})::text) AS k FROM {table} t) c
        JOIN result ON result.body = c.body AND c.k <= -n);
    INSERT INTO {table}{into} OVERRIDING SYSTEM VALUE
        SELECT (body::{row}).* FROM result, generate_series(1, n) WHERE n > 0;
"""
# Tables that are in a segment whole: the last one counts.
WHOLE = """
DELETE FROM ONLY {table} WHERE EXISTS (SELECT FROM {entries} WHERE op = 'w' AND {told});
INSERT INTO {table}{into} OVERRIDING SYSTEM VALUE SELECT (e.body::{row}).* FROM {entries} e
    WHERE op = 'r' AND {told} AND part = (SELECT max(part) FROM {entries} WHERE op = 'w' AND {told});
"""


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


class Unzstd:
    """Decompresses by the `zstd` program, for a Python without the package."""

    def __init__(self, source, name):
        program = shutil.which("zstd")
        if program is None:
            raise Refused(f"{name}: to decompress it, install the package zstandard or the program zstd")
        self.source, self.name, self.refusal = source, name, None
        self.process = subprocess.Popen([program, "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.feeder = threading.Thread(target=self.feed, daemon=True)
        self.feeder.start()

    def feed(self):
        """Hand the program what it decompresses."""
        try:
            with self.process.stdin as out:  # type: ignore
                shutil.copyfileobj(self.source, out, SEGMENT)  # type: ignore
        except Refused as error:
            self.refusal = error
        except OSError:
            pass  # the program ended early, and says by its exit code that it did

    def read(self, size=-1):
        """At most `size` bytes, everything when negative."""
        piece = self.process.stdout.read(size)  # type: ignore
        if size < 0 or not piece:
            self.feeder.join()
            if self.refusal:
                raise self.refusal
            if self.process.wait():
                raise Refused(f"{self.name}: it does not decompress")
        return piece


def open_files(path):
    """Size and a way to open each file of a backup, by name; of a zip or tar nothing is unpacked."""
    if path.is_dir():
        found = {
            f.relative_to(path).as_posix(): f for f in path.rglob("*") if not f.is_symlink() and f.is_file()
        }
        return {name: (file.stat().st_size, partial(file.open, "rb")) for name, file in found.items()}
    if not path.is_file():
        return {}
    try:
        if zipfile.is_zipfile(path):
            archive = zipfile.ZipFile(path)
            found = {
                each.filename: (each.file_size, partial(archive.open, each)) for each in archive.infolist()
            }
        else:
            tar = tarfile.open(path)  # noqa: SIM115
            found = {each.name: (each.size, partial(tar.extractfile, each)) for each in tar if each.isreg()}
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise Refused(f"{path}: no zip or tar this Python can read ({error}); unpack it with tar") from None
    return {TOP.sub("", name): file for name, file in found.items()}


class Backup:
    """One backup, in a directory, a zip or a tar: its key, its manifest, and the backup it builds on."""

    def __init__(self, path, arguments, child=None):
        self.path = Path(path)
        self.beside = self.path.resolve().parent
        self.files = open_files(self.path)
        if "COMPLETE" not in self.files:
            needed = f", which {child.path.name} builds on: put it there" if child else ""
            raise Refused(f"{path}: no COMPLETE file, so this is not a complete backup{needed}")
        header_bytes = self.whole("backup.json")
        self.header, complete = json.loads(header_bytes), self.json("COMPLETE")
        if self.header["format"] != "tenant_ops backup" or self.header["version"] != 1:
            raise Refused("backup.json: another format or version than this program reads")
        if hashlib.sha256(header_bytes).hexdigest() != complete["header_sha256"]:
            raise Refused("backup.json: changed after it was written")
        self.sealed = self.header["cipher"] is not None
        self.key = self.find_key(arguments) if self.sealed else None
        packed = ".gz" if self.header["parent"] else ""
        name = f"manifest.json{packed}{'.enc' if self.sealed else ''}"
        stored = self.whole(name)
        if hashlib.sha256(stored).hexdigest() != complete["manifest_sha256"]:
            raise Refused(f"{name}: not the manifest that was completed")
        with self.open(name) as file:
            document = (self.stream(file, name, "manifest") if self.sealed else file).read()
        self.manifest = json.loads(gzip.decompress(document) if packed else document)
        mine = (self.header["tenant_id"], self.header["backup_id"], complete["header_sha256"])
        if (self.manifest["tenant_id"], self.manifest["backup_id"], self.manifest["header_sha256"]) != mine:
            raise Refused(f"{name}: belongs to another backup")
        for member in self.manifest["members"]:
            if not MEMBER_PATH.match(member["path"]):
                raise Refused(f"{name}: {member['path']!r} is no path of a member")
        self.parent = self.find_parent(arguments)

    def find_parent(self, arguments):
        """The backup this one was written after; None for a full one."""
        named, known = self.header["parent"], self.manifest["parent_manifest_sha256"]
        if named is None:
            return None
        if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}", named):
            raise Refused("backup.json: the parent's id is not one")
        packed = (self.beside / f"{named}.{suffix}" for suffix in ("zip", "tar", "tar.gz", "tar.zst"))
        there = next((path for path in packed if path.is_file()), self.beside / named)
        parent = Backup(self.beside / named if (self.beside / named).is_dir() else there, arguments, self)
        if (parent.header["backup_id"], parent.json("COMPLETE")["manifest_sha256"]) != (named, known):
            raise Refused(f"{parent.path}: not the backup that {self.path.name} was written after")
        if parent.header["tenant_id"] != self.header["tenant_id"] or (self.sealed and not parent.sealed):
            raise Refused(f"{parent.path}: it cannot be what {self.path.name} builds on")
        return parent

    def chain(self):
        """The full backup and what builds on it, up to this one."""
        return [*(self.parent.chain() if self.parent else []), self]

    def open(self, name) -> Any:
        """A file of the backup."""
        if name not in self.files:
            raise Refused(f"{name}: it is missing")
        return self.files[name][1]()

    def whole(self, name):
        """The content of a small file."""
        with self.open(name) as file:
            return file.read()

    def json(self, name):
        """One of the small documents."""
        return json.loads(self.whole(name))

    def stream(self, file, path, kind):
        """The decrypted content of a sealed file."""
        context = "|".join(("tenant_ops/1", self.header["tenant_id"], self.header["backup_id"], path, kind))
        return Stream(file, self.key, context, path)

    def find_key(self, arguments):
        """The key of this backup, from an exported key, or master key -> tenant key -> backup key."""
        # Rotation leaves a zip or tar as it is and puts the key block it wrote beside it.
        rotated = self.beside / f"{self.header['backup_id']}.key.json"
        block = json.loads(rotated.read_bytes()) if rotated.is_file() else self.json("key.json")
        key_id = block["tenant_key_id"]
        if arguments.exported_key:
            tenant_key = base64.b64decode(json.loads(Path(arguments.exported_key).read_bytes())["key"])
        else:
            path = Path(arguments.tenant_key or self.beside / "keys" / f"{key_id}.json")
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

    def content(self, member):
        """A member as a stream of its content, after its stored bytes were compared with the manifest."""
        if member["origin"] is not None:
            own = {**member, "origin": None}
            for link in self.chain()[:-1]:
                if link.header["backup_id"] == member["origin"] and own in link.manifest["members"]:
                    return link.content(own)
            raise Refused(f"{member['path']}: it is not in {member['origin']} as it is referred to")
        if self.files.get(member["path"], (-1,))[0] != member["stored_bytes"]:
            raise Refused(f"{member['path']}: not the {member['stored_bytes']} bytes that were written")
        digest = hashlib.sha256()
        with self.open(member["path"]) as file:
            while piece := file.read(SEGMENT):
                digest.update(piece)
        if digest.hexdigest() != member["stored_sha256"]:
            raise Refused(f"{member['path']}: its hash is not the one in the manifest")
        file = self.open(member["path"])
        source = self.stream(file, member["path"], member["kind"]) if member["sealed"] else file
        if member["codec"] == "zstd":
            try:
                import zstandard
            except ImportError:
                return Unzstd(source, member["path"])
            return zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)  # type: ignore
        if member["codec"] == "gzip":
            return gzip.GzipFile(fileobj=source)  # type: ignore
        return source

    def read(self, kind, missing=None):
        """The JSON content of the only member of a kind; `missing` where there is none."""
        found = self.of_kind(kind)
        return json.loads(self.content(found[0]).read()) if found else missing

    def of_kind(self, kind):
        """The members of a kind."""
        return [member for member in self.manifest["members"] if member["kind"] == kind]


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
    """Read every member to its end, and the journals in between; what was found, as a sentence."""
    journals = [(link, member) for link in backup.chain()[:-1] for member in link.of_kind("journal")]
    for holder, member in [*((backup, member) for member in backup.manifest["members"]), *journals]:
        size, source = 0, holder.content(member)
        while piece := source.read(SEGMENT):
            size += len(piece)
        if size != member["raw_bytes"]:
            raise Refused(f"{member['path']}: {size} bytes of content, {member['raw_bytes']} were written")
    count, tables = len(backup.manifest["members"]), backup.manifest["tables"]
    unknown = sum(table["rows"] is None for table in tables)
    rows = sum(table["rows"] or 0 for table in tables)
    more = f" and those of {unknown} changed tables" if unknown else ""
    on = f", on {len(backup.chain()) - 1} backups" if backup.parent else ""
    return f"sound: {count} members, {len(tables)} tables, {rows} rows{more}{on}"


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
    if backup.parent:
        write_journal(backup, target / "journal", schema)
    write_files(backup, target / "files")
    for member in backup.of_kind("config"):
        (target / "config" / "config.json").write_bytes(backup.content(member).read())
    return f"unpacked into {target}{'; psql also needs journal/' if backup.parent else ''}"


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
    lines = [SESSION]
    for number, table in enumerate(backup.manifest["tables"], 1):
        name = f"{number:04}-{re.sub(r'[^A-Za-z0-9_]', '_', table['name'])}.copy"
        with (folder / name).open("wb") as out:
            for part in table["parts"]:
                shutil.copyfileobj(backup.content(members[part]), out, SEGMENT)
        columns = f" ({listed(table['columns'])})" if table["columns"] else ""
        lines.append(f"\\copy {quoted(schema)}.{quoted(table['name'])}{columns} from 'data/{name}'\n")
    (folder / "load.sql").write_text("".join(lines), encoding="utf-8")


def write_journal(backup, folder, schema):
    """What was committed since the full backup as COPY text, and the psql scripts that bring it in."""
    folder.mkdir()
    journal = quoted(f"{schema}__journal")
    lines = [f"CREATE SCHEMA {journal};\n{ENTRIES.format(journal)}"]
    for number, link in enumerate(backup.chain()[1:], 1):
        name = f"{number:04}-{link.header['backup_id']}.copy"
        with (folder / name).open("wb") as out:
            for member in link.of_kind("journal"):
                shutil.copyfileobj(link.content(member), out, SEGMENT)
        lines.append(f"ALTER TABLE {journal}.entries ALTER part SET DEFAULT {number};\n")
        lines.append(f"\\copy {journal}.entries ({ENTRY}) from 'journal/{name}'\n")
    (folder / "1-load.sql").write_text("".join(lines), encoding="utf-8")
    lines = [SESSION]
    for number, table in enumerate(backup.manifest["journal"]["segment"]["tables"], 1):
        lines += applied(table, journal, schema, number)
    lines.append(f"DROP SCHEMA {journal} CASCADE;\n")
    (folder / "2-apply.sql").write_text("".join(lines), encoding="utf-8")


def applied(table, journal, schema, number):
    """The statements that bring one table to where its entries leave it."""
    name, columns = f"{quoted(schema)}.{quoted(table['name'])}", listed(table["columns"])
    row, key = f"{journal}.row_{number}", f"{journal}.key_{number}"
    own = {table["name"], *table["parts"]}
    named = f"tbl IN ({', '.join(map(literal, sorted(own)))})"
    values = {
        "table": name, "entries": f"{journal}.entries", "row": row, "key": key, "columns": columns,
        "into": f" ({columns})" if columns else "", "told": named, "schema": literal(schema),
        "key_of_t": listed(table["key"], "t"),
        "key_of_r": listed(table["key"], "(r)"), "row_of_t": listed(table["columns"], "t"),
    }  # fmt: skip
    yield MADE.format(row, columns, name)
    if table["way"] == "state":
        yield MADE.format(key, listed(table["key"]), name)
    if steps := {"state": STATE, "rows": ROWS}.get(table["way"]):
        yield BY_ENTRIES.format(steps=steps.format(**values), **values)
    else:
        yield WHOLE.format(**values)


def write_files(backup, folder):
    """The tenant's files as the index has them: regular files below `folder`, nothing else."""
    wanted = {}
    for entry in backup.read("files-index", missing=[]):
        if entry["pack"] is None:
            safe(folder, entry["path"], "files/index.json").mkdir(parents=True, exist_ok=True)
        else:
            place = (entry["pack"], entry.get("packed_as") or entry["path"])
            wanted.setdefault(place, []).append(safe(folder, entry["path"], "files/index.json"))
    for member in backup.of_kind("files"):
        with tarfile.open(fileobj=backup.content(member), mode="r|") as tar:
            for entry in tar:
                safe(folder, entry.name, member["path"])
                source = tar.extractfile(entry) if entry.isreg() else None
                if source is None:
                    raise Refused(f"{member['path']}: {entry.name!r} is no regular file")
                targets = wanted.pop((member["path"], entry.name), [])
                if not targets and member["origin"] is None:
                    raise Refused(f"{member['path']}: {entry.name!r} is not in the index")
                write_file(source, entry, targets)
    if wanted:
        raise Refused(f"files/index.json: {sorted(wanted)[0]} is in no pack")


def write_file(source, entry, targets):
    """One file of a pack, under every name it has now."""
    for number, target in enumerate(targets):
        target.parent.mkdir(parents=True, exist_ok=True)
        with source if number == 0 else targets[0].open("rb") as content, target.open("xb") as out:
            shutil.copyfileobj(content, out, SEGMENT)
        target.chmod(entry.mode & 0o755)
        os.utime(target, (entry.mtime, entry.mtime))


def safe(folder, name, where):
    """A path below `folder`; by hand, for tarfile's own safe way came with Python 3.11.4."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise Refused(f"{where}: {name!r} is not a file below the folder")
    return folder.joinpath(*path.parts)


def listed(columns, table=""):
    """Columns of a table, as a list."""
    return ", ".join(f"{table}.{quoted(column)}" if table else quoted(column) for column in columns)


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
    parser.add_argument("backup", metavar="BACKUP")
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
