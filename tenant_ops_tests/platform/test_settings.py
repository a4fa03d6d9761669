"""Settings: an empty environment works, and whatever cannot be used is named."""

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tenant_ops.platform.errors import InputError
from tenant_ops.platform.settings import PACKAGE_ROOT, Settings, default_home, fixtures_root, libpq_url


def test_an_empty_environment_is_a_working_one() -> None:
    settings = Settings.load({})
    assert settings.database_url is None
    assert (settings.pool_size, settings.monitoring_interval) == (10, 60)
    assert settings.backup_path == str(settings.home / "backups")
    assert settings.actor == "operator"


def test_empty_values_mean_unset() -> None:
    names = (
        *("DATABASE_URL", "DATABASE_POOL_SIZE", "REDIS_URL", "BACKUP_STORAGE_PATH"),
        *("BACKUP_ENCRYPTION_KEY_FILE", "BACKUP_KEY_SERVICE", "BACKUP_ENCRYPTION_KEY_PREVIOUS"),
        *("BACKUP_ENCRYPTION_KEY_PREVIOUS_FILE", "BACKUP_KEY_SERVICE_PREVIOUS"),
        *("BACKUP_RETENTION_DAYS", "MONITORING_INTERVAL_SECONDS", "ALERT_EMAIL_RECIPIENTS", "SMTP_URL"),
        *("SLACK_WEBHOOK_URL", "TENANT_OPS_HOME", "TENANT_OPS_ACTOR", "FIXTURES_INBOX_PATH"),
    )
    assert Settings.load(dict.fromkeys(names, "")) == Settings.load({})


def test_an_empty_encryption_key_is_not_taken_for_none() -> None:
    """A secret that did not arrive must not lead to backups under a key nobody chose."""
    assert Settings.load({"BACKUP_ENCRYPTION_KEY": ""}).backup_key == ""
    assert Settings.load({}).backup_key is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://host/database"),
        ("DATABASE_URL", "host=localhost dbname=x"),
        ("DATABASE_URL", "postgresql://host:port/database"),
        ("DATABASE_URL", "postgresql://host/database?no_such_option=1"),
        ("DATABASE_POOL_SIZE", "1"),
        ("DATABASE_POOL_SIZE", "ten"),
        ("DATABASE_POOL_SIZE", "-5"),
        ("DATABASE_POOL_SIZE", "2.5"),
        ("DATABASE_POOL_SIZE", "9" * 5000),
        ("BACKUP_RETENTION_DAYS", "-1"),
        ("BACKUP_RETENTION_DAYS", "a week"),
        ("MONITORING_INTERVAL_SECONDS", "0"),
        ("MONITORING_INTERVAL_SECONDS", "1e3"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InputError) as refused:
        Settings.load({name: value})
    assert str(refused.value).startswith(f"{name}: ")
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg2"])
def test_every_common_spelling_of_a_postgres_url_is_accepted(scheme: str) -> None:
    assert libpq_url(f"{scheme}://u:p%40ss@host:6543/db?sslmode=require", "DATABASE_URL") == (
        "postgresql://u:p%40ss@host:6543/db?sslmode=require"
    )


@pytest.mark.parametrize(
    ("url", "field", "value"),
    [
        ("postgresql://postgres@/db?host=%2Ftmp%2Fa%20b", "host", "/tmp/a b"),
        ("postgresql+asyncpg://u:a+b%25@h/db", "password", "a+b%"),
        ("postgres://h1:1,h2:2/db?target_session_attrs=primary", "host", "h1,h2"),
        ("postgresql://[::1]:5/db", "host", "::1"),
    ],
)
def test_a_url_means_to_libpq_what_was_written(url: str, field: str, value: str) -> None:
    assert conninfo_to_dict(libpq_url(url, "DATABASE_URL") or "")[field] == value


def test_the_home_may_have_spaces_and_a_tilde(tmp_path: Path) -> None:
    home = tmp_path / "my home" / ".." / "my home"
    assert Settings.load({"TENANT_OPS_HOME": str(home)}).home == tmp_path / "my home"
    assert Settings.load({"TENANT_OPS_HOME": "~/x y"}).home == Path.home() / "x y"


def test_the_inbox_is_beside_the_shipped_fixtures_unless_told_otherwise(tmp_path: Path) -> None:
    assert Settings.load({}).inbox_path == fixtures_root() / "inbox"
    assert Settings.load({"FIXTURES_INBOX_PATH": str(tmp_path / "in box")}).inbox_path == tmp_path / "in box"


def test_recipients_are_separated_by_commas() -> None:
    settings = Settings.load({"ALERT_EMAIL_RECIPIENTS": " a@x.example, b@x.example ,, "})
    assert settings.alert_recipients == ("a@x.example", "b@x.example")


def test_no_secret_shows_when_settings_are_printed() -> None:
    settings = Settings.load(
        {
            "DATABASE_URL": "postgresql://user:hunter2@host/db",
            "REDIS_URL": "redis://:hunter2@host",
            "BACKUP_ENCRYPTION_KEY": "hunter2hunter2",
            "BACKUP_ENCRYPTION_KEY_PREVIOUS": "hunter2hunter2",
            "SMTP_URL": "smtp://user:hunter2@host",
            "SLACK_WEBHOOK_URL": "https://hooks.example/hunter2",
        }
    )
    assert "hunter2" not in repr(settings)


def test_no_password_shows_when_a_url_cannot_be_read() -> None:
    with pytest.raises(InputError) as refused:
        Settings.load({"DATABASE_URL": "postgresql://user:hunter2%@host/db"})
    assert "hunter2" not in str(refused.value)


def test_a_checkout_keeps_its_state_and_finds_its_fixtures_in_itself() -> None:
    if not (PACKAGE_ROOT / "workspace.yaml").is_file():
        pytest.skip("not a checkout")
    assert default_home() == PACKAGE_ROOT / ".tenant_ops"
    assert fixtures_root() == PACKAGE_ROOT / "fixtures"
