"""The architecture: who may import whom. `ALLOWED` is its documentation; imports point down only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gacheck"
MAX_LINES = 300

LAYER_1 = frozenset(
    f"gacheck.{name}" for name in ("observed", "record", "journal", "plan", "config", "environment", "errors", "facts")
)
# What reads a clock, the world, or chance, or writes: no business of arithmetic and text.
EFFECTS = frozenset(
    {"time", "datetime", "sys", "os", "io", "random", "logging", "pathlib", "tempfile", "shutil", "subprocess"}
    | {"socket", "threading", "importlib"}
)
WRITING = frozenset({"print", "open", "input", "exec", "eval", "__import__"})


@dataclass(frozen=True)
class Group:
    """What the modules of a group may import.

    Attributes:
        ours: Modules and packages of gacheck, beside the group itself and the version.
        libraries: Third-party libraries.
        late: Of `ours`, what may be imported inside functions only: it is slow.
        no_stdlib: Modules of the standard library that are out of bounds.
        no_calls: Builtins that must not be called.
    """

    ours: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    no_stdlib: frozenset[str] = frozenset()
    no_calls: frozenset[str] = frozenset()


def group(ours: set[str] | frozenset[str] = frozenset(), libraries: str = "", **rest: frozenset[str]) -> Group:
    return Group(frozenset(ours), frozenset(libraries.split()), **rest)


CORE = frozenset({"gacheck.core"})
# Pure arithmetic that is at hand also where nothing but torch is installed.
ARITHMETIC = frozenset({"gacheck.rules.table", "gacheck.rules.matching"})
BELOW_COMMANDS = LAYER_1 | CORE | {"gacheck.measure.experiment", "gacheck.reporters", "gacheck.measure"}

# Top down, as in the design. A module belongs to the group with the longest name that it begins with.
ALLOWED: dict[str, Group] = {
    "gacheck": group(
        {"gacheck.api", "gacheck.words.analysis", "gacheck.errors"}, late=frozenset({"gacheck.api", "gacheck.core"})
    ),
    "gacheck.__main__": group({"gacheck.cli"}),
    "gacheck.cli": group({"gacheck.commands", "gacheck.errors"}, "typer click rich"),
    "gacheck.commands": group(BELOW_COMMANDS, "typer click rich pydantic", late=frozenset({"gacheck.measure"})),
    "gacheck.api": group(BELOW_COMMANDS | {"gacheck.watch"}, late=frozenset({"gacheck.measure", "gacheck.watch"})),
    "gacheck.measure.experiment": group(LAYER_1 | CORE),
    "gacheck.measure": group(
        LAYER_1 | CORE | {"gacheck.watch"},
        "torch transformers datasets accelerate tokenizers safetensors numpy huggingface_hub peft",
    ),
    "gacheck.watch.startup": group({"gacheck.watch"}),
    "gacheck.watch": group(ARITHMETIC | {"gacheck.rules.facts"}, "torch"),
    "gacheck.reporters": group(LAYER_1 | CORE, "rich matplotlib jinja2", no_calls=WRITING),
    "gacheck.core": group(LAYER_1, no_stdlib=EFFECTS, no_calls=WRITING),
    "gacheck.attached.record": group(LAYER_1, "pydantic"),
    "gacheck.record.journal": group(LAYER_1, "pydantic"),
    "gacheck.record.run": group(LAYER_1, "pydantic yaml"),
    "gacheck.record.plan": group({"gacheck.config"}),
    "gacheck.config": group({"gacheck.errors"}, "pydantic yaml"),
    "gacheck.record.environment": group({"gacheck.errors", "gacheck.rules.facts"}, "pydantic yaml"),
    "gacheck.errors": group(),
    "gacheck.rules.facts": group(),
}


@dataclass(frozen=True)
class Import:
    """One imported module; `late` if only a function or a type checker imports it."""

    module: str
    line: int
    late: bool


@dataclass
class Reader(ast.NodeVisitor):
    """Collect the imports and the calls of plain names in a module."""

    module: str
    is_package: bool = False
    imports: list[Import] = field(default_factory=list)
    calls: list[tuple[str, int]] = field(default_factory=list)
    depth: int = 0

    def visit_Import(self, node: ast.Import) -> None:
        self.imports += [Import(alias.name, node.lineno, self.depth > 0) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parents = self.module.split(".")[: -(node.level - self.is_package) or None]
            base = ".".join([*parents, base]).rstrip(".")
        # `from gacheck import core` imports gacheck.core; elsewhere the name adds nothing that the table asks.
        names = [f"{base}.{alias.name}" for alias in node.names] if base == "gacheck" else [base]
        self.imports += [Import(name, node.lineno, self.depth > 0) for name in names]

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name):
            self.calls.append((node.func.id, node.lineno))
        elif isinstance(node.func, ast.Attribute) and node.func.attr in ("open", "write_text", "write_bytes"):
            self.calls.append(("open", node.lineno))
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        """Take what only a type checker imports for late: it costs nothing. Its direction counts all the same."""
        quiet = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        self.depth += quiet
        for child in node.body:
            self.visit(child)
        self.depth -= quiet
        for child in [node.test, *node.orelse]:
            self.visit(child)


def inside(module: str, packages: frozenset[str] | set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def group_of(module: str) -> str | None:
    """Return the module's group; None for one that the table does not know."""
    names = [name for name in ALLOWED if name != "gacheck" and inside(module, {name})]
    return max(names, key=len) if names else ("gacheck" if module == "gacheck" else None)


def violations(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Yield what `source`, read as `module`, does against the table."""
    name = group_of(module)
    if name is None:
        yield f"{module} has no place in ALLOWED"
        return
    rules = ALLOWED[name]
    reader = Reader(module, is_package)
    reader.visit(ast.parse(source))
    for found in reader.imports:
        place = f"{module}:{found.line}"
        root = found.module.split(".")[0]
        if root == "gacheck":
            known = found.module == "gacheck.__version__" or inside(found.module, rules.ours | {name} - {"gacheck"})
            if not known:
                yield f"{place} imports {found.module}"
            elif inside(found.module, rules.late) and not found.late:
                yield f"{place} imports {found.module} outside a function"
        elif root in sys.stdlib_module_names:
            if root in rules.no_stdlib:
                yield f"{place} imports {root}, which has effects"
        elif root not in rules.libraries:
            yield f"{place} imports {root}"
    yield from (f"{module}:{line} calls {call}" for call, line in reader.calls if call in rules.no_calls)


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize("path", FILES, ids=module_name)


def test_there_are_files_to_check() -> None:
    names = {module_name(path) for path in FILES}

    assert {"gacheck.rules.table", "gacheck.record.run", "gacheck.core", "gacheck"} <= names


@every_file
def test_imports_point_down(path: Path) -> None:
    found = violations(path.read_text(encoding="utf-8"), module_name(path), is_package=path.name == "__init__.py")

    assert list(found) == []


@every_file
def test_a_module_fits_a_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_LINES


@every_file
def test_what_is_public_is_described(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]

    assert ast.get_docstring(tree), "the module"
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("name", ALLOWED)
def test_the_table_itself_points_down(name: str) -> None:
    order = list(ALLOWED)
    below = {*order[order.index(name) + 1 :]} | (set(LAYER_1) if name in LAYER_1 else set())

    assert [each for each in ALLOWED[name].ours if not inside(each, below)] == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("gacheck.rules.table", "import torch", "imports torch"),
        ("gacheck.rules.table", "from pydantic import BaseModel", "imports pydantic"),
        ("gacheck.rules.table", "import os.path", "imports os, which has effects"),
        ("gacheck.rules.table", "def f():\n    import time", "imports time, which has effects"),
        ("gacheck.rules.table", "if True:\n    from datetime import datetime", "imports datetime, which has effects"),
        ("gacheck.rules.table", "def f(x):\n    print(x)", "calls print"),
        ("gacheck.rules.table", "from gacheck.reporters.json import render", "imports gacheck.reporters.json"),
        ("gacheck.rules.table", "from ..training import probe", "imports gacheck.measure"),
        ("gacheck.rules.table", "from gacheck import training", "imports gacheck.measure"),
        ("gacheck.reporters.plot", "import numpy", "imports numpy"),
        ("gacheck.reporters.plot", "open('x')", "calls open"),
        ("gacheck.reporters.plot", "path.open('w')", "calls open"),
        ("gacheck.reporters.plot", "path.write_text('x')", "calls open"),
        ("gacheck.reporters.plot", "from gacheck.measure.experiment import run", "imports gacheck.measure.experiment"),
        (
            "gacheck.watch.probe",
            "from gacheck.measure.experiment import PassSpec",
            "imports gacheck.measure.experiment",
        ),
        ("gacheck.watch.probe", "import rich", "imports rich"),
        ("gacheck.measure.experiment", "import torch", "imports torch"),
        ("gacheck.measure.experiment", "def f():\n    from gacheck.measure import passes", "imports gacheck.measure"),
        ("gacheck.commands.run", "from gacheck.measure.passes.runner import run_pass", "outside a function"),
        ("gacheck.commands.run", "if True:\n    import gacheck.measure.passes.runner", "outside a function"),
        (
            "gacheck.commands.run",
            "if TYPE_CHECKING:\n    pass\nelse:\n    import gacheck.measure",
            "outside a function",
        ),
        ("gacheck.rules.table", "if TYPE_CHECKING:\n    import torch", "imports torch"),
        ("gacheck.commands.run", "def f():\n    import torch", "imports torch"),
        ("gacheck.commands.run", "from gacheck.cli import app", "imports gacheck.cli"),
        ("gacheck.cli", "from gacheck.measure import probe", "imports gacheck.measure"),
        ("gacheck.record.run", "from gacheck.core import rules", "imports gacheck.core"),
        ("gacheck.errors", "import pydantic", "imports pydantic"),
        ("gacheck.helpers", "", "no place in ALLOWED"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str, complaint: str) -> None:
    found = list(violations(source, module))

    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "gacheck.rules.table",
            "import math\nfrom gacheck.record.parts import RunRecord\nfrom gacheck.core import codes",
        ),
        ("gacheck.rules.table", "from . import codes\nfrom .codes import severity_of\nfrom ..errors import UsageError"),
        (
            "gacheck.commands.run",
            "def f():\n    from gacheck.measure.passes.runner import run_pass\n    print(run_pass)",
        ),
        ("gacheck.commands.run", "if TYPE_CHECKING:\n    from gacheck.measure.session import Session"),
        ("gacheck.record.environment", "from gacheck import __version__\nfrom importlib import metadata"),
        (
            "gacheck.measure.models.folder",
            "import torch\nfrom gacheck.rules.table import RULES\nfrom gacheck.measure import data",
        ),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert list(violations(source, module)) == []
