"""What the installed package needs besides its modules is declared, so that a wheel has it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DATA: dict[str, list[str]] = PROJECT["tool"]["setuptools"]["package-data"]


def undeclared(files: list[Path], data: dict[str, list[str]]) -> Iterator[Path]:
    """Yield the files that setuptools would leave out."""
    for path in files:
        home = next(folder for folder in path.parents if (folder / "__init__.py").is_file())
        patterns = data.get(".".join(home.relative_to(ROOT).parts), [])
        if not any(path in home.glob(pattern) for pattern in patterns):
            yield path


def data_files() -> list[Path]:
    kept = [path for path in (ROOT / "gacheck").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path for path in kept if path.suffix != ".py"]


def test_every_file_is_in_the_wheel() -> None:
    assert len(data_files()) > 2
    assert list(undeclared(data_files(), DATA)) == []


def test_a_file_that_is_left_out_is_found() -> None:
    assert list(undeclared(data_files(), {**DATA, "gacheck": []})) != []
