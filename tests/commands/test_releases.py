"""`gacheck releases`: what is listed and removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gacheck.cli import main
from gacheck.releases import cache, index, shared


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache.cache_folder()


def put(release: str, *, whose: str | None = None) -> None:
    folder = cache.folder_of(release)
    if whose is not None:
        folder = folder.parents[1] / whose / folder.name
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * 2_000_000)
    (folder / cache.STAMP).write_text(whose or shared.stamp())


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["releases", *arguments])
    return int(caught.value.code or 0)


def test_none(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert run() == 0
    assert capsys.readouterr().out == f"no other release is installed in {folder}\n"


def test_size_and_time_of_each(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    put("4.57.6")
    put("4.50.3", whose="another")
    (folder / "another" / "transformers-4.46.3").mkdir()

    assert run() == 0

    older, newer, total = capsys.readouterr().out.splitlines()
    assert older.startswith("4.50.3        2 MB  20")
    assert older.endswith("  for another Python environment")
    assert newer.startswith("4.57.6        2 MB  20")
    assert "another" not in newer
    assert total == f"2 in {folder}, 4 MB"


def test_one_is_removed(capsys: pytest.CaptureFixture[str]) -> None:
    put("4.57.6")
    put("4.50.3")

    assert run("--remove", "4.50.3") == 0

    assert capsys.readouterr().out == "removed transformers 4.50.3\n"
    assert cache.kept() == ["4.57.6"]


def test_all_are_removed_also_what_was_interrupted(folder: Path) -> None:
    put("4.57.6")
    put("4.57.6", whose="another")
    (folder / "another" / "transformers-4.46.3").mkdir()

    assert run("--remove", "all") == 0

    assert cache.kept() == []
    assert run("--remove", "all") == 0


@pytest.mark.parametrize("release", ["4.50.3", "../..", "x"])
def test_what_is_not_there_is_not_removed(capsys: pytest.CaptureFixture[str], tmp_path: Path, release: str) -> None:
    put("4.57.6")

    assert run("--remove", release) == 2

    assert "name one of  4.57.6" in capsys.readouterr().err
    assert cache.kept() == ["4.57.6"]


def test_what_the_index_has(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    put("4.57.6")
    monkeypatch.setattr(index, "available", lambda: ["4.57.6", "5.0.0"])

    assert run("--available") == 0

    assert capsys.readouterr().out == "4.57.6  in the cache\n5.0.0\n"


def test_both_at_once_are_refused() -> None:
    assert run("--available", "--remove", "4.57.6") == 2
