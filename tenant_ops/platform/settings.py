"""What the environment says: read once, checked, frozen, passed on.

Here: every environment variable the project understands, with its default and its check.
Not here: per-tenant or per-tier settings (`tenants/tiers.py`), run configuration (`orchestration/`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from tenant_ops.platform.errors import InputError

PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """The settings of one process. Every field has a default: an empty environment is a working one.

    Attributes:
        home: Where this installation keeps its own state (embedded servers, tenant files, keys).
        database_url: libpq URL of the Postgres that holds the tenants; None means the embedded one.
        pool_size: Most connections one process opens to a server.
        redis_url: Cache server; None means the embedded one.
        inbox_path: Folder with a folder per tenant whose files are loaded as they come.
        backup_path: Where backups are stored: a directory, or an fsspec URL.
        backup_fallback_path: Where they go while that store fails; None for nowhere.
        backup_key: The backup master key as given (base64 of 32 bytes, or a passphrase); never shown.
        backup_key_file: File that holds it instead.
        backup_key_service: `module:attribute` that makes the `KeyService` which keeps it instead.
        previous_backup_key: The master key that was in force before, while it is being replaced; never shown.
        previous_backup_key_file: File that holds that one.
        previous_backup_key_service: `module:attribute` of the service that keeps that one.
        backup_retention_days: Days a backup is kept when the tenant's tier says nothing else.
        monitoring_interval: Seconds between two monitoring ticks.
        alert_recipients: E-mail addresses alerts go to.
        smtp_url: Mail server for alerts, `smtp://user:password@host:port`.
        slack_webhook_url: Slack incoming webhook for alerts.
        rules: Modules of validation rules, beside those of installed packages.
        actor: Who is recorded in the audit log as having done things.
    """

    home: Path
    database_url: str | None = field(default=None, repr=False)
    pool_size: int = 10
    redis_url: str | None = field(default=None, repr=False)
    inbox_path: Path = Path("fixtures/inbox")
    backup_path: str = ""
    backup_fallback_path: str | None = None
    backup_key: str | None = field(default=None, repr=False)
    backup_key_file: str | None = None
    backup_key_service: str | None = None
    previous_backup_key: str | None = field(default=None, repr=False)
    previous_backup_key_file: str | None = None
    previous_backup_key_service: str | None = None
    backup_retention_days: int | None = None
    monitoring_interval: int = 60
    alert_recipients: tuple[str, ...] = ()
    smtp_url: str | None = field(default=None, repr=False)
    slack_webhook_url: str | None = field(default=None, repr=False)
    rules: tuple[str, ...] = ()
    actor: str = "operator"

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings from `env` (the process environment when None).

        Raises:
            InputError: a variable holds something that cannot be used; it is named.
        """
        env = os.environ if env is None else env
        home = Path(env.get("TENANT_OPS_HOME") or default_home()).expanduser().resolve()
        inbox = Path(env.get("FIXTURES_INBOX_PATH") or fixtures_root() / "inbox").expanduser().resolve()
        recipients = env.get("ALERT_EMAIL_RECIPIENTS", "").split(",")
        return cls(
            home=home,
            database_url=libpq_url(env.get("DATABASE_URL"), "DATABASE_URL"),
            pool_size=_whole_number(env, "DATABASE_POOL_SIZE", default=10, least=2),
            redis_url=env.get("REDIS_URL") or None,
            inbox_path=inbox,
            backup_path=env.get("BACKUP_STORAGE_PATH") or str(home / "backups"),
            backup_fallback_path=env.get("BACKUP_FALLBACK_PATH") or None,
            # Set but empty is kept as it is: a secret that did not arrive must not mean "make a new one".
            backup_key=env.get("BACKUP_ENCRYPTION_KEY"),
            backup_key_file=env.get("BACKUP_ENCRYPTION_KEY_FILE") or None,
            backup_key_service=env.get("BACKUP_KEY_SERVICE") or None,
            previous_backup_key=env.get("BACKUP_ENCRYPTION_KEY_PREVIOUS") or None,
            previous_backup_key_file=env.get("BACKUP_ENCRYPTION_KEY_PREVIOUS_FILE") or None,
            previous_backup_key_service=env.get("BACKUP_KEY_SERVICE_PREVIOUS") or None,
            backup_retention_days=_whole_number(env, "BACKUP_RETENTION_DAYS", default=0, least=0) or None,
            monitoring_interval=_whole_number(env, "MONITORING_INTERVAL_SECONDS", default=60, least=1),
            alert_recipients=tuple(address.strip() for address in recipients if address.strip()),
            smtp_url=env.get("SMTP_URL") or None,
            slack_webhook_url=env.get("SLACK_WEBHOOK_URL") or None,
            rules=tuple(name.strip() for name in env.get("TENANT_OPS_RULES", "").split(",") if name.strip()),
            actor=env.get("TENANT_OPS_ACTOR") or env.get("USER") or "operator",
        )


def default_home() -> Path:
    """`.tenant_ops` in the checkout, or in the working directory when installed as a package."""
    in_checkout = (PACKAGE_ROOT / "workspace.yaml").is_file()
    return (PACKAGE_ROOT if in_checkout else Path.cwd()) / ".tenant_ops"


def fixtures_root() -> Path:
    """The `fixtures` folder of the checkout, or of the working directory when installed as a package."""
    in_checkout = (PACKAGE_ROOT / "fixtures").is_dir()
    return (PACKAGE_ROOT if in_checkout else Path.cwd()) / "fixtures"


def libpq_url(value: str | None, variable: str) -> str | None:
    """The URL as libpq spells it: `postgresql+asyncpg://` and `postgres://` become `postgresql://`.

    Raises:
        InputError: the value is no Postgres URL.
    """
    if not value:
        return None
    scheme, _, rest = value.partition("://")
    if scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise InputError(
            "this is not a Postgres URL.",
            where=variable,
            fix="Write it as postgresql://user:password@host:5432/database.",
        )
    url = f"postgresql://{rest}"
    try:
        ports = str(conninfo_to_dict(url).get("port", "5432")).split(",")
    except ProgrammingError:
        ports = ["unreadable"]
    if not all(port.isdecimal() for port in ports if port):
        # libpq's own message would show the piece it stumbled over, which may be the password.
        raise InputError(
            "a part of this Postgres URL cannot be read.",
            where=variable,
            fix="Escape special characters as %XX; options are libpq's, for instance ?sslmode=require.",
        )
    return url


def _whole_number(env: Mapping[str, str], name: str, *, default: int, least: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        raise InputError(
            f"{text!r} is not a whole number of {least} or more, with 9 digits at most.", where=name
        )
    return int(text)
