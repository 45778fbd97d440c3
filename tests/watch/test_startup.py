"""The start of every Python process of an attached training: unnoticed by all that is no Trainer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gacheck.watch.startup import sitecustomize

CHECKOUT = Path(__file__).parents[2]
STARTUP = str(Path(sitecustomize.__file__).parent)

# A package that passes for transformers: its Trainer counts how often it was made and trained.
FAKE_TRAINER = """
class Trainer:
    made = trained = 0

    def __init__(self):
        type(self).made += 1

    def train(self):
        type(self).trained += 1
        return self.trained
"""


def python(
    *arguments: str,
    path: list[str] | None = None,
    folder: Path | None = None,
    interpreter: str = sys.executable,
    cwd: Path | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run Python as a training would be: `path` in front of the PYTHONPATH, facts to `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GACHECK", "PYTHON"))}
    kept["PYTHONPATH"] = os.pathsep.join([STARTUP] if path is None else path)
    if folder is not None:
        kept["GACHECK_ATTACH_FOLDER"] = str(folder)
    return subprocess.run(
        [interpreter, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env={**kept, "GACHECK_ATTACH_STEPS": "1", **environment},
    )


def said(done: subprocess.CompletedProcess[str]) -> Any:
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Python that has neither gacheck nor anything else beside the standard library."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=120)
    [interpreter] = [path for path in (home / "bin" / "python", home / "Scripts" / "python.exe") if path.exists()]
    return str(interpreter)


def other_sitecustomize(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    return str(folder)


PATHS = "import json, sys; print(json.dumps(sys.path))"


def test_the_folder_leaves_the_path_and_a_word_is_left(tmp_path: Path, bare: str) -> None:
    after = said(python("-c", PATHS, folder=tmp_path, interpreter=bare))

    assert STARTUP not in after
    assert after == said(python("-c", PATHS, path=[], interpreter=bare))
    assert (tmp_path / "python").exists()


def test_python_has_put_it_there() -> None:
    # The control: another module of the folder's name is found by the same way.
    code = "import json, sys, sitecustomize; print(json.dumps([sitecustomize.__file__, sitecustomize.FOLDER]))"
    assert said(python("-c", code)) == [str(Path(STARTUP) / "sitecustomize.py"), STARTUP]


def test_nothing_of_gacheck_s_home_enters_the_path(tmp_path: Path, bare: str) -> None:
    # gacheck itself is found, its neighbours are not: the training has its own torch, or none.
    code = """
import json, sys
import gacheck, gacheck.rules.facts
found = [gacheck.__file__, gacheck.rules.facts.__file__]
try:
    import pydantic
except ModuleNotFoundError:
    found.append("no pydantic")
print(json.dumps([found, sys.path]))
"""
    found, path = said(python("-c", code, folder=tmp_path, interpreter=bare))

    assert found == [str(CHECKOUT / "gacheck" / name) for name in ("__init__.py", "rules/facts.py")] + ["no pydantic"]
    assert not [entry for entry in path if Path(entry) in (CHECKOUT, CHECKOUT / "gacheck", Path(STARTUP))]


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_what_drops_the_path_drops_it(tmp_path: Path, bare: str, option: str) -> None:
    done = python(option, "-c", "import sys; print('gacheck' in str(sys.meta_path))", folder=tmp_path, interpreter=bare)

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "False", "")
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_for_facts_no_import_is_watched(bare: str) -> None:
    code = "import json, sys; print(json.dumps([type(f).__name__ for f in sys.meta_path]))"
    assert "Finder" not in said(python("-c", code, interpreter=bare))


@pytest.mark.parametrize("where", ["before", "behind"])
def test_the_sitecustomize_that_it_stands_before_runs(tmp_path: Path, bare: str, where: str) -> None:
    theirs = other_sitecustomize(tmp_path / "theirs", "import sys\nsys.theirs = __file__, __name__\nNAME = 'theirs'\n")
    code = """
import json, sys, sitecustomize
print(json.dumps([sys.theirs, sitecustomize.NAME, sitecustomize.__file__, sys.path]))
"""
    path = [theirs, STARTUP] if where == "before" else [STARTUP, theirs]
    ran, name, file, after = said(python("-c", code, path=path, folder=tmp_path, interpreter=bare))

    assert ran == [file, "sitecustomize"] == [str(Path(theirs) / "sitecustomize.py"), "sitecustomize"]
    assert name == "theirs"
    assert theirs in after
    assert (STARTUP in after) == (where == "before")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("raise ValueError('theirs is broken')", "ValueError: theirs is broken"),
        ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
        ("raise ImportError('theirs is broken')", "ImportError: theirs is broken"),
    ],
)
def test_its_errors_are_its_own(tmp_path: Path, bare: str, text: str, error: str) -> None:
    # Python says that a sitecustomize failed and goes on: so it does with and without us.
    theirs = other_sitecustomize(tmp_path / "theirs", text)
    outcomes = [
        python("-c", "print('went on')", path=path, folder=tmp_path, interpreter=bare, PYTHONVERBOSE="")
        for path in ([theirs], [STARTUP, theirs])
    ]

    assert [(done.returncode, done.stdout) for done in outcomes] == [(outcomes[0].returncode, outcomes[0].stdout)] * 2
    alone, chained = (done.stderr.splitlines() for done in outcomes)
    assert bool(chained) == bool(alone)
    if alone:
        assert (chained[0], chained[-1]) == (alone[0], alone[-1])
        assert error in " ".join(chained)


def test_a_process_that_trains_nothing_pays_next_to_nothing(tmp_path: Path, bare: str) -> None:
    code = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    without = said(python("-c", code, path=[], interpreter=bare))
    with_it = said(python("-c", code, folder=tmp_path, interpreter=bare))

    more = {name.split(".")[0] for name in set(with_it) - set(without)}
    assert "sitecustomize" in with_it
    assert more.isdisjoint({"torch", "transformers", "gacheck", "pathlib", "json", "inspect", "dataclasses", "re"})
    # All of it is the standard library's and small.
    assert more - {"sitecustomize"} <= sys.stdlib_module_names


def fake_transformers(folder: Path, text: str = FAKE_TRAINER) -> str:
    package = folder / "transformers"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "trainer.py").write_text(text)
    return str(folder)


USE = """
import json, sys
from transformers.trainer import Trainer
class Mine(Trainer):
    pass
print(json.dumps([Mine().train(), Trainer.made, Mine.made, "gacheck.watch.hook" in sys.modules]))
"""


def test_a_trainer_works_where_the_watch_cannot(tmp_path: Path, bare: str) -> None:
    # No torch in this Python: the watch fails to load, and that is written down.
    theirs = fake_transformers(tmp_path / "site")
    facts = tmp_path / "facts"
    facts.mkdir()
    done = said(python("-c", USE, path=[STARTUP, theirs], folder=facts, interpreter=bare))

    assert done == [1, 0, 1, False]
    assert {path.name for path in facts.iterdir()} == {"python", "trouble"}
    assert "No module named 'torch'" in (facts / "trouble").read_text()


def test_a_trainer_works_where_no_word_can_be_left(tmp_path: Path, bare: str) -> None:
    theirs = fake_transformers(tmp_path / "site")
    done = said(python("-c", USE, path=[STARTUP, theirs], folder=tmp_path / "gone", interpreter=bare))

    assert done == [1, 0, 1, False]
    assert not (tmp_path / "gone").exists()


def test_an_error_of_the_trainer_s_module_is_its_own(tmp_path: Path, bare: str) -> None:
    theirs = fake_transformers(tmp_path / "site", "raise RuntimeError('theirs is broken')")
    done = python("-c", "import transformers.trainer", path=[STARTUP, theirs], folder=tmp_path, interpreter=bare)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "RuntimeError: theirs is broken"
    assert not (tmp_path / "trouble").exists()


def test_where_transformers_is_not_installed_the_error_is_python_s(tmp_path: Path, bare: str) -> None:
    done = python("-c", "import transformers.trainer", folder=tmp_path, interpreter=bare)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'transformers'"


# Trainers of which none can be watched: they have not even what they would be asked for.
USE_THREE = """
import json, sys
from transformers.trainer import Trainer
ARGS = type("", (), {"gradient_accumulation_steps": 1})
made = [type("Mine", (Trainer,), own) for own in ({"model": None, "args": ARGS}, {"model": None}, {"args": ARGS})]
print(json.dumps([[mine().train() for mine in made], "gacheck.watch.hook" in sys.modules]))
"""


def test_the_class_is_watched_when_its_module_is_imported(tmp_path: Path) -> None:
    # With torch at hand. They train all the same, and why they are not watched is written down.
    theirs = fake_transformers(tmp_path / "site")
    facts = tmp_path / "facts"
    facts.mkdir()
    done = said(python("-W", "ignore", "-c", USE_THREE, path=[STARTUP, theirs, str(CHECKOUT)], folder=facts))

    assert done == [[1, 1, 1], True]
    assert {path.name for path in facts.iterdir()} == {"python", "transformers", "trouble"}
    told = (facts / "trouble").read_text().splitlines()
    assert len(told) == 3
    assert all(line.startswith("AttributeError: 'Mine' object has no attribute") for line in told)


def test_children_are_watched_too(tmp_path: Path, bare: str) -> None:
    # A launcher starts the training in processes of its own; they have the PYTHONPATH as it was given.
    code = """
import subprocess, sys
child = "import sys; print('Finder' in str(sys.meta_path), sys.path.count(sys.argv[1]))"
print(subprocess.run([sys.executable, "-c", child, sys.argv[1]], capture_output=True, text=True).stdout)
"""
    done = python("-c", code, STARTUP, folder=tmp_path, interpreter=bare)

    assert (done.stdout.split(), done.stderr) == (["True", "0"], "")


def test_imported_by_another_name_it_does_nothing() -> None:
    # As by this test.
    assert not [finder for finder in sys.meta_path if type(finder).__name__ == "Finder"]
    assert STARTUP not in sys.path
