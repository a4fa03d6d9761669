"""A master key that never leaves a key management service, here a process of its own asked over HTTP."""

import subprocess
from pathlib import Path

import pytest

from tenant_ops.platform.errors import InputError, OperationFailed, TenantOpsError
from tenant_ops.platform.keys import ensure_master_key, find_master_key, key_path
from tenant_ops.platform.settings import Settings
from tenant_ops_tests.platform.key_server import SERVICE


def settings(home: Path, service: str = SERVICE) -> Settings:
    return Settings.load({"TENANT_OPS_HOME": str(home), "BACKUP_KEY_SERVICE": service})


@pytest.mark.usefixtures("key_server")
def test_it_seals_and_opens_and_no_key_is_made_here(tmp_path: Path) -> None:
    key = ensure_master_key(settings(tmp_path))
    assert key.id == "http-key-1"
    sealed = key.seal(b"a tenant's key of thirty-two byte", "tenant/1")
    assert b"tenant's key" not in sealed
    again = find_master_key(settings(tmp_path))
    assert again is not None
    assert again.open(sealed, "tenant/1") == b"a tenant's key of thirty-two byte"
    assert not key_path(settings(tmp_path)).exists()


@pytest.mark.usefixtures("key_server")
def test_what_it_did_not_seal_for_this_place_does_not_open(tmp_path: Path) -> None:
    key = ensure_master_key(settings(tmp_path))
    sealed = key.seal(b"secret", "tenant/1")
    for other, context in ((sealed, "tenant/2"), (sealed[:-1] + b"?", "tenant/1"), (b"", "tenant/1")):
        with pytest.raises(InputError, match=r"http-key-1.*does not open it"):
            key.open(other, context)


def test_while_it_is_away_nothing_is_sealed_or_opened_and_it_is_said(
    tmp_path: Path, key_server: subprocess.Popen[str]
) -> None:
    key = ensure_master_key(settings(tmp_path))
    sealed = key.seal(b"secret", "here")
    key_server.kill()
    key_server.wait()
    for work in (lambda: key.seal(b"hunter2", "here"), lambda: key.open(sealed, "here")):
        with pytest.raises(OperationFailed, match=f"BACKUP_KEY_SERVICE {SERVICE}.*did not answer") as failed:
            work()
        assert "hunter2" not in str(failed.value)
    assert not key_path(settings(tmp_path)).exists()


class Broken:
    """A service that gets one thing wrong."""

    id = "broken"

    def wrap(self, secret: bytes, context: str) -> bytes:
        return secret

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        return wrapped


class Forgetful(Broken):
    def wrap(self, secret: bytes, context: str) -> bytes:
        return b"sealed"


class Talkative(Broken):
    def wrap(self, secret: bytes, context: str) -> bytes:
        raise RuntimeError(f"could not wrap {secret!r}")


class Explaining(Broken):
    def wrap(self, secret: bytes, context: str) -> bytes:
        raise OperationFailed("the vault is sealed.", fix="Unseal it.")


class Textual(Broken):
    def wrap(self, secret: bytes, context: str) -> bytes:
        return "text"  # type: ignore[return-value]


class Nameless(Broken):
    id = ""


def no_service() -> object:
    return object()


@pytest.mark.parametrize(
    ("service", "complaint"),
    [
        (Broken, "did not encrypt"),
        (Forgetful, "does not open what it has just sealed"),
        (Talkative, r"did not answer \(RuntimeError\)"),
        (Explaining, "the vault is sealed. Unseal it."),
        (Textual, "something else than bytes"),
    ],
)
def test_a_service_that_does_not_seal_is_found_out_before_anything_rests_on_it(
    tmp_path: Path, service: type, complaint: str
) -> None:
    key = find_master_key(settings(tmp_path, f"{__name__}:{service.__name__}"))
    assert key is not None
    with pytest.raises(OperationFailed, match=complaint) as failed:
        key.seal(b"hunter2hunter2hunter2hunter2hunter2", "here")
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("no_colon", "not written as module:function"),
        (":HttpKey", "not written as module:function"),
        ("no_such_module_at_all:make", r"could not be made \(ModuleNotFoundError\)"),
        (f"{__name__}:missing", r"could not be made \(AttributeError\)"),
        (f"{__name__}:SERVICE", r"could not be made \(TypeError\)"),
        (f"{__name__}:no_service", "has no wrap and unwrap"),
        (f"{__name__}:Nameless", "no text of 1 to 200 characters"),
    ],
)
def test_a_setting_that_names_no_service_is_refused_and_no_other_key_is_used(
    tmp_path: Path, name: str, complaint: str
) -> None:
    with pytest.raises(TenantOpsError, match=f"BACKUP_KEY_SERVICE: .*{complaint}") as refused:
        ensure_master_key(settings(tmp_path, name))
    assert refused.value.exit_code == 2
    assert not key_path(settings(tmp_path)).exists()
