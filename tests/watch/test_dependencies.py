"""What watches a training loads where torch alone is installed, under a Python as old as 3.9."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "gacheck"
# All of gacheck that the watch may load: these and what is in them.
OURS = ("gacheck", "gacheck.errors", "gacheck.redaction", "gacheck.rules", "gacheck.watch")
# What is here; what is not cannot be imported anyway.
INSTALLED = frozenset(metadata.packages_distributions())
FILES = sorted(
    [
        PACKAGE / "__init__.py",
        PACKAGE / "errors.py",
        PACKAGE / "redaction.py",
        *(PACKAGE / "rules").rglob("*.py"),
        *(PACKAGE / "watch").rglob("*.py"),
    ]
)
OLDEST = (3, 9)

# {allowed}: of the installed top-level modules; None for all but those in {refused}.
GUARD = """
import importlib.abc, sys
{before}

class Guard(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top == "gacheck":
            refused = name not in {ours!r} and not name.startswith(("gacheck.rules.", "gacheck.watch."))
        elif {allowed!r} is None:
            refused = top in {refused!r}
        else:
            refused = top in {installed!r} and top not in {allowed!r}
        if refused:
            raise ModuleNotFoundError("refused: " + name, name=name)
        return None

sys.meta_path.insert(0, Guard())
"""


def needed_by(*packages: str) -> set[str]:
    """Return the packages and all that they require, by the names of their modules."""
    by_package: dict[str, list[str]] = {}
    for module, homes in metadata.packages_distributions().items():
        for home in homes:
            by_package.setdefault(_normal(home), []).append(module)
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = _normal(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another platform
            continue
        # "name>=1; extra == 'x'": what an extra brings is not required.
        plain = [r for r in requirements if "extra ==" not in r]
        waiting += ["".join(c if c.isalnum() or c in "-_." else " " for c in r).split()[0] for r in plain]
    return {module for name in found for module in by_package.get(name, [])}


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def guarded(
    code: str, *, allowed: set[str] | None = None, refused: tuple[str, ...] = (), before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run code where some imports are refused."""
    guard = GUARD.format(before=before, installed=set(INSTALLED), ours=OURS, allowed=allowed, refused=refused)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", guard + code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=CHECKOUT,
    )


# Not only imported: what is imported late, within a function, is needed as well. The toys need torch alone too.
WATCH = """
import gacheck.watch.hook
from gacheck.watch.watch import Watch
from tests.watch.toys import ToyModel, ToyTrainer

told = []
for smoothing in (0.0, 0.3):
    trainer = ToyTrainer(ToyModel(smoothing=smoothing))
    Watch(trainer, num_steps=1, seen=lambda facts, is_last: told.append(facts))
    trainer.train(1)
assert [facts.unseen for facts in told] == [(), ()], told
assert all(facts.loss_location for facts in told)
print(sorted(name for name in __import__("sys").modules if name.split(".")[0] == "gacheck"))
"""


def test_the_watch_needs_torch_alone() -> None:
    # Torch's compiler looks for all sorts of packages; it has its say before the others are refused.
    done = guarded(WATCH, allowed={*needed_by("torch"), "numpy", "tests"}, before="import torch._dynamo")

    assert done.returncode == 0, done.stderr
    loaded = ast.literal_eval(done.stdout)
    assert "gacheck.watch.replays" in loaded
    assert {".".join(name.split(".")[:2]) for name in loaded} == set(OURS)


@pytest.mark.parametrize(
    ("code", "allowed", "refused", "named"),
    [
        ("import pydantic", None, ("pydantic",), "pydantic"),
        ("import pydantic", set(), (), "pydantic"),
        ("import gacheck.record.run", None, (), "gacheck.record"),
        ("import gacheck\ngacheck.attach", None, (), "gacheck.api"),
    ],
)
def test_what_is_refused_cannot_be_imported(
    code: str, allowed: set[str] | None, refused: tuple[str, ...], named: str
) -> None:
    done = guarded(code, allowed=allowed, refused=refused)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: refused: {named}"


def test_requirements_are_followed() -> None:
    assert {"torch", "sympy", "mpmath", "typing_extensions"} <= needed_by("torch")
    assert needed_by("torch").isdisjoint({"transformers", "pydantic", "gacheck"})


def test_an_older_python_can_read_it() -> None:
    assert {PACKAGE / "watch" / "hook.py", PACKAGE / "rules" / "table.py"} <= set(FILES)
    found = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, str(path), feature_version=OLDEST)
        found += [(path.name, each) for each in names_of_newer_pythons(tree)]
        # `X | Y` in annotations is for new Pythons alone unless they stay text.
        if "from __future__ import annotations" not in text and _code_of(tree):
            found.append((path.name, "annotations that are no text"))
    assert found == []


def _code_of(tree: ast.Module) -> list[ast.stmt]:
    return [s for s in tree.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]


NEWER = {
    "dataclass": {"slots", "kw_only"},  # 3.10
    "zip": {"strict"},  # 3.10
}
NEWER_NAMES = {"StrEnum", "Self", "TypeAlias", "ParamSpec", "pairwise", "assert_never", "ExceptionGroup", "tomllib"}


def names_of_newer_pythons(tree: ast.AST) -> list[str]:
    """Name the arguments and names that Python 3.9 does not know, of those that are likely here."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            known = NEWER.get(node.func.id, set())
            found += [f"{node.func.id}({k.arg}=) in line {node.lineno}" for k in node.keywords if k.arg in known]
        if isinstance(node, ast.ImportFrom):
            found += [f"{a.name} in line {node.lineno}" for a in node.names if a.name in NEWER_NAMES]
    return found


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("match x:\n    case 1:\n        pass\n", True),
        ("def f[T](x: T) -> T: ...\n", True),
        ("try:\n    pass\nexcept* ValueError:\n    pass\n", True),
        ("zip(a, b)\n", False),
    ],
)
def test_newer_syntax_is_refused(text: str, error: bool) -> None:
    if sys.version_info < (3, 12) and "[T]" in text:
        pytest.skip("this Python does not know it either, whatever version is asked for")
    if error:
        with pytest.raises(SyntaxError):
            ast.parse(text, feature_version=OLDEST)
    else:
        ast.parse(text, feature_version=OLDEST)


@pytest.mark.parametrize(
    "text",
    [
        "zip(a, b, strict=True)",
        "from typing import Self",
        "from enum import StrEnum",
        "@dataclass(slots=True)\nclass A: ...",
    ],
)
def test_newer_names_are_seen(text: str) -> None:
    assert len(names_of_newer_pythons(ast.parse(text))) == 1
