"""Environments of other releases: made once, made anew where they must be; the installer is a fake."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gacheck.errors import ConfigError, ResourceError
from gacheck.record.environment import installed_version
from gacheck.releases import cache, environments, index, installer, shared

NEWEST = installed_version("transformers") or ""
Install = Callable[[Path, str, Callable[[str], None]], None]


class Installations:
    """Stands in for the installer, and counts."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.fault: BaseException | None = None

    def __call__(self, folder: Path, release: str, say: Callable[[str], None]) -> None:
        assert not folder.exists()
        self.made.append(release)
        python = installer.python_in(folder)
        python.parent.mkdir(parents=True)
        python.write_text(release)
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def installations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installations:
    fake = Installations()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(installer, "install", fake)
    return fake


def python_of(release: str) -> Path:
    return environments.python_of(release, lambda text: None)


def test_an_environment_is_made_once(installations: Installations, tmp_path: Path) -> None:
    said: list[str] = []

    first = environments.python_of("4.50.3", said.append)

    assert first == cache.folder_of("4.50.3") / "bin" / "python"
    assert first.is_relative_to(tmp_path / "gacheck" / "releases")
    assert first.read_text() == "4.50.3"
    assert [text.rpartition(" in ")[0] or text for text in said] == [
        "transformers 4.50.3: installing",
        "transformers 4.50.3: installed",
    ]
    assert environments.python_of("4.50.3", said.append) == first
    assert (installations.made, len(said)) == (["4.50.3"], 2)


def test_the_release_that_is_installed_here_needs_none(installations: Installations) -> None:
    assert python_of(NEWEST) == Path(sys.executable)
    assert (installations.made, cache.kept()) == ([], [])


def test_an_interrupted_installation_is_made_anew(installations: Installations) -> None:
    installations.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        python_of("4.50.3")
    assert (cache.kept(), cache.cached()) == (["4.50.3"], [])

    installations.fault = None
    python_of("4.50.3")

    assert installations.made == ["4.50.3"] * 2
    assert [each.release for each in cache.cached()] == ["4.50.3"]


@pytest.mark.parametrize(
    "change", [{"python": "3.99"}, {"gacheck": "99"}, {"packages": {"torch": "99"}}], ids=["python", "gacheck", "torch"]
)
def test_each_has_its_own(
    installations: Installations, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    first = python_of("4.50.3")
    there = shared.read_environment().model_copy(update=change)

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(shared, "read_environment", lambda: there)
        assert [cache.is_current(each.folder) for each in cache.cached()] == [False]
        assert python_of("4.50.3") != first

    assert first.exists()
    assert python_of("4.50.3") == first
    assert (installations.made, cache.kept()) == (["4.50.3"] * 2, ["4.50.3"])
    assert sorted(cache.is_current(each.folder) for each in cache.cached()) == [False, True]
    environments.remove("4.50.3")
    assert cache.kept() == []


def test_two_that_ask_at_once_share_one(installations: Installations, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, said = threading.Event(), list[str]()

    def slow(folder: Path, release: str, say: Callable[[str], None]) -> None:
        installations(folder, release, say)
        assert waiting.wait(30)

    def say(text: str) -> None:
        said.append(text)
        if "waiting" in text:
            waiting.set()

    monkeypatch.setattr(installer, "install", slow)
    threads = [threading.Thread(target=environments.python_of, args=("4.50.3", say)) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)

    assert installations.made == ["4.50.3"]
    assert sum("waiting for another process" in text for text in said) == 1


def test_what_the_index_does_not_have_is_said(installations: Installations, monkeypatch: pytest.MonkeyPatch) -> None:
    installations.fault = installer.InstallationError("No matching distribution found")
    monkeypatch.setattr(index, "available", lambda: ["4.57.5", "4.57.6", "5.0.0"])

    with pytest.raises(ConfigError) as caught:
        python_of("4.57.7")

    assert caught.value.what == "There is no transformers 4.57.7."
    assert "4.57.6" in caught.value.fix
    assert cache.kept() == []


def test_without_network_one_message_says_what_is_there(
    installations: Installations, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_of("4.57.6")
    installations.fault = installer.InstallationError("Name or service not known")
    monkeypatch.setattr(index, "available", lambda: (_ for _ in ()).throw(index.unreachable("no network")))

    with pytest.raises(ResourceError) as caught:
        python_of("4.50.3")

    assert caught.value.exit_code == 4
    assert "Name or service not known" in caught.value.why
    assert "4.57.6" in caught.value.fix
    # What is there works all the same.
    assert python_of("4.57.6").exists()


def test_a_cache_that_cannot_be_written_is_said(
    installations: Installations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    with pytest.raises(ResourceError, match="could not be made") as caught:
        python_of("4.50.3")

    assert "XDG_CACHE_HOME" in caught.value.fix


def test_one_is_removed_whole(installations: Installations) -> None:
    python_of("4.50.3")
    python_of("4.57.6")

    assert environments.remove("4.50.3")
    assert not environments.remove("4.50.3")
    assert cache.kept() == ["4.57.6"]


def test_they_are_listed_in_order_with_their_size(installations: Installations) -> None:
    for release in ("5.0.0", "4.50.3", "4.9.0"):
        python_of(release)

    found = cache.cached()

    assert [each.release for each in found] == ["4.9.0", "4.50.3", "5.0.0"]
    stamp = found[0].folder / cache.STAMP
    assert found[0].num_bytes() == len("4.9.0") + stamp.stat().st_size
