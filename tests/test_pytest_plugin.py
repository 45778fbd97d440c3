"""The plugin as pytest meets it: every test here runs pytest in a project of its own, most with faked trainings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Until it is installed again, an environment does not know the entry point.
INSTALLED = any(each.value == "gacheck.pytest_plugin" for each in metadata.entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "gacheck.pytest_plugin")

CONFTEST = """
import gacheck.api
from gacheck.errors import ModelError
from gacheck.words.analysis import analyse
from tests.builders import failed_pass, full_run, run_record

RECORDS = {
    "right": full_run("token_mean", "mean_of_means"),
    "scaled": full_run("sum_of_means", "mean_of_means"),
    "warned": full_run("unshifted_token_mean", "unshifted_token_mean"),
    "unanswered": run_record([failed_pass(4, "on"), failed_pass(4, "off")]),
}

def check(name, k):
    if name not in RECORDS:
        raise ModelError(f"There is no model at {name}.", why="It is no folder.", fix="name another")
    return analyse(RECORDS[name])

gacheck.api._check_name = check
"""

TESTS = """
import gacheck
import pytest

def test_fine(gacheck_check):
    assert gacheck_check("right").verdict.code == "OK"

def test_faulty(gacheck_check):
    gacheck_check("scaled")

def test_asserted():
    assert gacheck.check("scaled").ok

def test_asserted_by_name():
    found = gacheck.check("scaled")
    assert found.ok

def test_raised():
    gacheck.check("scaled", on_fault="raise")

def test_asserted_otherwise():
    found = gacheck.check("right")
    assert found.verdict.code == "FAIL", "of one's own"

def test_of_something_else():
    found = gacheck.check("scaled")
    assert not found.ok
    assert not gacheck.check("warned").ok
    assert 1 == 2, "of one's own"

def test_another_error():
    raise ValueError("of one's own")
"""

BLOCK = """\
FAIL  SCALED_BY_ACCUMULATION: the loss is k times too large
 why       The Trainer hands num_items_in_batch to the model and does not divide
           by k; the model drops it and takes a mean per micro-batch
           (modeling_tiny.py:42)."""
LINE = (
    "FAIL SCALED_BY_ACCUMULATION: the loss is k times too large; modeling_tiny.py:42; "
    "fix: trainer.model_accepts_loss_kwargs = False"
)


def run_pytest(folder: Path, *options: str, plugin: tuple[str, ...] = PLUGIN) -> tuple[int, str]:
    """Run pytest in a folder, as wide as a terminal often is; return its exit code and what it said."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    command = [sys.executable, "-m", "pytest", *plugin, *options]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_own.py").write_text(TESTS)
    return folder


def section(output: str, title: str) -> str:
    """Return what stands below a line such as `_____ title _____` or `===== title =====`."""
    found = re.search(rf"^([_=])\1+ {re.escape(title)} \1+$\n(.*?)^[_=]{{3,}}", output, re.MULTILINE | re.DOTALL)
    assert found is not None, output
    return found[2]


def summary(output: str) -> list[str]:
    return section(output, "short test summary info").splitlines()


MODELS = tuple(f"--gacheck-model={name}" for name in ("right", "scaled", "warned", "unanswered", "nowhere", "right"))


def test_models_are_tests(project: Path) -> None:
    code, output = run_pytest(project, *MODELS, "-k", "not test_own")

    assert code == 1
    assert "collected 13 items / 8 deselected / 5 selected" in output
    assert "\ngacheck .F.FE " in output
    shown = section(output, "gacheck::scaled")
    assert shown.startswith(BLOCK)
    assert " fix       trainer.model_accepts_loss_kwargs = False   # before trainer.train()\n" in shown
    assert section(output, "gacheck::unanswered").startswith("?     INCONCLUSIVE: ")
    assert section(output, "ERROR at setup of gacheck::nowhere") == (
        "There is no model at nowhere.\n  why  It is no folder.\n  do   name another\n"
    )
    assert "Traceback" not in output
    assert ".py:" not in output.replace("modeling_tiny.py:42", "")
    scaled, unanswered, nowhere = summary(output)
    assert scaled == "FAILED gacheck::scaled - FAIL SCALED_BY_ACCUMULATION: the loss is k times too..."
    assert unanswered.startswith("FAILED gacheck::unanswered - INCONCLUSIVE: ")
    assert nowhere == "ERROR gacheck::nowhere - There is no model at nowhere."
    told = section(output, "gacheck").splitlines()
    assert told[0] == f"gacheck::scaled: {LINE}"
    assert [line.split(": ")[:2] for line in told[1:]] == [
        ["gacheck::warned", "WARN UNSHIFTED_TOKEN_COUNT"],
        ["gacheck::unanswered", "INCONCLUSIVE"],
    ]


def test_a_warning_fails_if_it_is_to_be_strict(project: Path) -> None:
    code, output = run_pytest(project, "--gacheck-model=warned", "--gacheck-strict", "-k", "not test_own", "--tb=no")

    assert code == 1
    assert summary(output)[0].startswith("FAILED gacheck::warned - WARN UNSHIFTED_TOKEN_COUNT: ")


def test_tests_of_ones_own_show_the_verdict(project: Path) -> None:
    code, output = run_pytest(project, "-p", "no:cacheprovider", "-W", "error")

    assert code == 1
    assert "\ntest_own.py .FFFFFFF " in output
    for name in ("test_faulty", "test_raised"):
        shown = section(output, name)
        marked = "\n".join(f"E       {line}" for line in BLOCK.split("\n"))
        assert marked.replace("E       FAIL", "E       gacheck.errors.FaultError: FAIL") in shown
        # The test's own lines, and none of gacheck's.
        assert re.findall(r"^(\S+\.py):\d+", shown, re.MULTILINE) == ["test_own.py"]
    for name in ("test_asserted", "test_asserted_by_name"):
        assert BLOCK in section(output, name)
    for name in ("test_of_something_else", "test_asserted_otherwise", "test_another_error"):
        assert "- gacheck -" not in section(output, name)
    assert [line.partition(" - ")[2].split(":")[0] for line in summary(output)] == [
        *["FAIL SCALED_BY_ACCUMULATION"] * 4,
        *["AssertionError"] * 2,
        "ValueError",
    ]
    assert section(output, "gacheck").splitlines() == [
        f"test_own.py::{name}: {LINE}"
        for name in ("test_faulty", "test_asserted", "test_asserted_by_name", "test_raised")
    ]


def test_several_processes_say_the_same(project: Path) -> None:
    code, output = run_pytest(project, *MODELS, "-n", "2")

    assert code == 1
    assert BLOCK in section(output, "gacheck::scaled")
    assert f"gacheck::scaled: {LINE}\n" in section(output, "gacheck")
    assert "FAILED gacheck::scaled - FAIL SCALED_BY_ACCUMULATION: the loss is k times too..." in summary(output)
    assert "ERROR gacheck::nowhere - There is no model at nowhere." in summary(output)


def test_where_nothing_is_asked_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(
        "import sys\n"
        "def test_nothing_is_loaded():\n"
        "    assert [n for n in sys.modules if n.startswith('gacheck')] == {names}\n"
        "def test_fails():\n"
        "    assert 1 == 2\n".format(names=["gacheck", "gacheck.pytest_plugin"])
    )
    without = ("-p", "no:gacheck") if INSTALLED else ()
    said = {plugin: run_pytest(tmp_path, "-k", "fails", plugin=plugin) for plugin in (PLUGIN, without)}

    assert run_pytest(tmp_path, "-W", "error", "-k", "nothing")[0] == 0
    shown = {(code, re.sub(r"in [\d.]+s|^plugins: .*$", "", text, flags=re.MULTILINE)) for code, text in said.values()}
    assert len(shown) == 1
    (tmp_path / "test_own.py").unlink()
    assert run_pytest(tmp_path)[0] == pytest.ExitCode.NO_TESTS_COLLECTED


def test_pytest_starts_as_fast_as_before() -> None:
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport gacheck.pytest_plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == ["gacheck", "gacheck.pytest_plugin"]


def test_the_entry_point_names_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    plugin = import_module(project["entry-points"]["pytest11"]["gacheck"])

    assert {"pytest_addoption", "gacheck_check"} <= set(vars(plugin))


def test_real_models_in_a_bare_folder(tmp_path: Path) -> None:
    """XLNet drops the count in the newest release, and Gemma3 does not."""
    models = ("--gacheck-model", "tiny:xlnet", "--gacheck-model", "tiny:gemma3")
    code, output = run_pytest(tmp_path, *models, "-W", "error")

    assert (code, "\ngacheck F. " in output) == (1, True)
    line = section(output, "gacheck").splitlines()[0]
    assert line.startswith("gacheck::tiny:xlnet: FAIL SCALED_BY_ACCUMULATION: the loss is k times too large; modeling_")
    assert "Captured" not in output
