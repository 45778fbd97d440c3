"""The working folder comes first while the user's own code is imported, and takes the place of nothing afterwards."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from gacheck.errors import GacheckError
from gacheck.measure.user_code import import_object


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    monkeypatch.setattr(sys, "meta_path", [each for each in sys.meta_path if type(each).__name__ != "_Neighbours"])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_the_working_folder_does_not_stay_on_the_path(here: Path) -> None:
    Path("losses.py").write_text("import helpers\ndef loss(): return helpers.NUMBER\n")
    Path("helpers.py").write_text("NUMBER = 7\n")
    before = list(sys.path)

    assert import_object("losses:loss", "--compute-loss-func")() == 7
    assert sys.path == before


def test_nor_where_the_code_raises_something() -> None:
    Path("bad.py").write_text("1 / 0\n")
    before = list(sys.path)

    with pytest.raises(GacheckError):
        import_object("bad:loss", "--compute-loss-func")
    assert sys.path == before


def test_what_lies_there_takes_the_place_of_no_library_that_is_imported_later() -> None:
    Path("losses.py").write_text("def loss(): pass\n")
    Path("wave.py").write_text("raise RuntimeError('not this one')\n")
    Path("wandb_logs").mkdir()
    sys.modules.pop("wave", None)
    import_object("losses:loss", "--compute-loss-func")

    assert hasattr(importlib.import_module("wave"), "Wave_read")
    # A folder of logs is no package.
    assert importlib.util.find_spec("wandb_logs") is None


def test_code_that_imports_its_neighbour_when_it_is_called_finds_it() -> None:
    Path("losses.py").write_text(
        "def loss():\n    import late\n    from parts.inner import ONE\n    return late.NUMBER + ONE\n"
    )
    Path("late.py").write_text("NUMBER = 7\n")
    Path("parts").mkdir()
    Path("parts/__init__.py").touch()
    Path("parts/inner.py").write_text("ONE = 1\n")

    assert import_object("losses:loss", "--compute-loss-func")() == 8
    import_object("losses:loss", "--compute-loss-func")
    assert [type(each).__name__ for each in sys.meta_path].count("_Neighbours") == 1
