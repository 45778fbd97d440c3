"""Which releases there are: pip's own list, without what gacheck does not take."""

from __future__ import annotations

import pytest

from gacheck.errors import ConfigError, ResourceError
from gacheck.releases import index
from gacheck.releases.installer import InstallationError

PRINTED = """transformers (5.10.0)
Available versions: 5.10.0, 5.9.1, 5.9.1rc1, 5.0.0.dev0, 4.57.6, 4.46.1, 4.45.2, 4.9.0, 3.5.1
  INSTALLED: 5.9.1
"""


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    asked: list[list[str]] = []
    monkeypatch.setattr(index, "run", lambda command: asked.append(command) or PRINTED)
    return asked


def test_the_final_releases_from_the_oldest_that_is_taken(printed: list[list[str]]) -> None:
    assert index.available() == ["4.46.1", "4.57.6", "5.9.1", "5.10.0"]
    assert printed[0][-5:-2] == ["index", "versions", "transformers"]


def test_the_newest_is_the_newest_by_its_numbers(printed: list[list[str]]) -> None:
    assert index.resolve("newest") == "5.10.0"


def test_a_number_needs_no_index(printed: list[list[str]]) -> None:
    assert index.resolve(" 4.57.6 ") == "4.57.6"
    assert not printed


@pytest.mark.parametrize(
    ("release", "what"),
    [
        ("4.45.2", "gacheck needs 4.46 or newer"),
        ("3.5", "gacheck needs 4.46 or newer"),
        ("5.0.0rc1", "is no release"),
        ("main", "is no release"),
        ("5", "is no release"),
        ("../x", "is no release"),
    ],
)
def test_what_is_not_taken_is_refused_with_the_reason(printed: list[list[str]], release: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        index.resolve(release)

    assert caught.value.exit_code == 2


@pytest.mark.parametrize("answer", ["", "Available versions: 4.45.0"])
def test_an_index_without_releases_is_one_that_could_not_be_reached(
    monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(index, "run", lambda command: answer)

    with pytest.raises(ResourceError, match="could not be reached"):
        index.available()


def test_pips_own_words_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str]) -> str:
        raise InstallationError("Name or service not known")

    monkeypatch.setattr(index, "run", fail)

    with pytest.raises(ResourceError) as caught:
        index.resolve("newest")

    assert caught.value.exit_code == 4
    assert "Name or service not known" in caught.value.why
    # Whether the index has it is then not known either.
    assert index.unknown("9.9.9") is None


def test_a_release_that_is_not_listed_is_told_from_one_that_is(printed: list[list[str]]) -> None:
    assert index.unknown("4.57.6") is None
    error = index.unknown("4.57.7")
    assert error is not None
    assert "4.57.6" in error.fix
