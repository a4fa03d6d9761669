"""A history of releases to test with, and a way to write others."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

RELEASES = Path(__file__).parent / "releases"
Write = Callable[..., Path]


@pytest.fixture
def releases() -> Path:
    """1.0.0 to 2.1.0: additive, with a conflict, breaking and lossy, without a way back."""
    return RELEASES


@pytest.fixture
def own_releases(tmp_path: Path) -> Path:
    """A copy of them to edit."""
    return copytree(RELEASES, tmp_path / "releases")


@pytest.fixture
def write_step(tmp_path: Path) -> Write:
    """Writes a step of a release and returns the folder of releases."""

    def write(
        version: str = "1.1.0",
        name: str = "010_change",
        *,
        about: str = 'from: "1.0.0"\n',
        up: str | None = "ALTER TABLE tracks ADD COLUMN mood text;",
        down: str | None = "ALTER TABLE tracks DROP COLUMN mood;",
        **others: str,
    ) -> Path:
        folder = tmp_path / "written" / version / name
        folder.mkdir(parents=True)
        (folder / "migration.yaml").write_text(about)
        for stem, text in {"up": up, "down": down, **others}.items():
            if text is not None:
                (folder / f"{stem}.sql").write_text(text)
        return tmp_path / "written"

    return write
