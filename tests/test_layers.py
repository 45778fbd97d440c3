"""The architecture: who may import whom. `ALLOWED` is its documentation; imports point down only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gacheck"

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


BELOW_RECORD = {"gacheck.config", "gacheck.rules", "gacheck.errors"}
# What errors are told with: whose code raised one, which package is missing, how an option was typed.
TELLING = {"gacheck.frames", "gacheck.packages", "gacheck.misuse"}
BELOW_CORE = BELOW_RECORD | {"gacheck.record"}
TORCH = "torch transformers datasets accelerate tokenizers huggingface_hub peft"

# Top down. A module belongs to the group with the longest name that it begins with, and may import of gacheck what
# stands in its row, all of it further down; its own group and the version it may always.
ALLOWED: dict[str, Group] = {
    "gacheck.__main__": group({"gacheck.cli"}),
    "gacheck.cli": group({"gacheck.commands", "gacheck.errors", "gacheck.frames", "gacheck.signals"}, "typer"),
    "gacheck.commands": group(
        BELOW_CORE
        | TELLING
        | {
            "gacheck.scratch",
            "gacheck.attached",
            "gacheck.core",
            "gacheck.lint",
            "gacheck.measure",
            "gacheck.releases",
            "gacheck.reporters",
            "gacheck.words",
        },
        "typer rich pydantic filelock",
        late=frozenset({"gacheck.measure", "gacheck.reporters.picture"}),
    ),
    "gacheck.pytest_plugin": group(
        {"gacheck.api", "gacheck.errors", "gacheck.reporters", "gacheck.words"},
        "pytest",
        # pytest loads it wherever gacheck is installed.
        late=frozenset({"gacheck.api", "gacheck.errors", "gacheck.reporters", "gacheck.words"}),
    ),
    "gacheck": group(
        {"gacheck.api", "gacheck.errors", "gacheck.words.analysis"},
        late=frozenset({"gacheck.api", "gacheck.errors", "gacheck.words.analysis"}),
    ),
    "gacheck.api": group(
        {"gacheck.attached", "gacheck.config", "gacheck.errors", "gacheck.measure", "gacheck.record"}
        | {"gacheck.reporters", "gacheck.rules", "gacheck.watch", "gacheck.words"},
        late=frozenset({"gacheck.measure", "gacheck.watch"}),
    ),
    "gacheck.reporters.picture.drawing": group(
        {"gacheck.core", "gacheck.reporters", "gacheck.rules", "gacheck.words"}, "matplotlib", no_calls=WRITING
    ),
    "gacheck.reporters.html.page": group({"gacheck.core", "gacheck.reporters", "gacheck.words"}, no_calls=WRITING),
    "gacheck.reporters.html.survey_page": group({"gacheck.reporters", "gacheck.words"}, no_calls=WRITING),
    "gacheck.reporters.html.templating": group({"gacheck.reporters"}, "jinja2", no_calls=WRITING),
    "gacheck.reporters": group(
        {"gacheck.core", "gacheck.lint", "gacheck.record", "gacheck.rules", "gacheck.words"},
        "rich",
        late=frozenset(
            {"gacheck.reporters.html.page", "gacheck.reporters.html.survey_page", "gacheck.reporters.picture.drawing"}
        ),
        no_calls=WRITING,
    ),
    "gacheck.measure": group(
        BELOW_CORE | TELLING | {"gacheck.scratch", "gacheck.watch", "gacheck.words"},
        f"{TORCH} pebble psutil safetensors",
    ),
    "gacheck.attached": group(BELOW_CORE | {"gacheck.watch.startup"}, "pydantic"),
    "gacheck.releases": group({"gacheck.core", "gacheck.errors", "gacheck.record"}, "filelock"),
    "gacheck.words": group(
        {"gacheck.core", "gacheck.lint", "gacheck.record", "gacheck.rules"}, no_stdlib=EFFECTS, no_calls=WRITING
    ),
    "gacheck.core": group({"gacheck.record", "gacheck.rules"}, no_stdlib=EFFECTS, no_calls=WRITING),
    "gacheck.record": group(BELOW_RECORD | {"gacheck.redaction"}, "pydantic"),
    "gacheck.watch": group({"gacheck.errors", "gacheck.rules", "gacheck.watch.startup"}, "torch"),
    "gacheck.watch.startup": group(),
    "gacheck.lint": group({"gacheck.errors", "gacheck.rules"}, no_calls=WRITING),
    "gacheck.config": group(
        {"gacheck.errors", "gacheck.misuse", "gacheck.option_file", "gacheck.rules"}, "pydantic yaml"
    ),
    "gacheck.option_file": group({"gacheck.errors"}, "yaml"),
    "gacheck.misuse": group({"gacheck.errors"}, "pydantic"),
    "gacheck.packages": group({"gacheck.errors"}),
    "gacheck.scratch": group(set(), "filelock"),
    "gacheck.signals": group(),
    "gacheck.frames": group({"gacheck.errors"}),
    "gacheck.rules": group(no_stdlib=EFFECTS, no_calls=WRITING),
    "gacheck.errors": group({"gacheck.redaction"}, no_calls=WRITING),
    "gacheck.redaction": group(),
}
# The package's own page and its commands stand on one level: the order between them says nothing.


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
SOURCES = {module_name(path): (path.read_text(encoding="utf-8"), path.name == "__init__.py") for path in FILES}


def test_there_are_files_to_check() -> None:
    assert {"gacheck.rules.table", "gacheck.record.run", "gacheck.core", "gacheck"} <= set(SOURCES)


def test_imports_point_down() -> None:
    found = [
        each for name, (source, package) in SOURCES.items() for each in violations(source, name, is_package=package)
    ]

    assert found == []


def undescribed(source: str, module: str) -> Iterator[str]:
    """Yield what is public in a module and has no docstring."""
    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        yield module
    for node in tree.body:
        public = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_"
        if public and not ast.get_docstring(node):
            yield f"{module}.{node.name}"


def test_what_is_public_is_described() -> None:
    assert [each for name, (source, _) in SOURCES.items() for each in undescribed(source, name)] == []


def test_what_is_not_described_is_found() -> None:
    source = "def f(): pass\nclass C: pass\ndef _g(): pass\nasync def h():\n    'Do.'\n"

    assert list(undescribed(source, "m")) == ["m", "m.f", "m.C"]


def upward(table: dict[str, Group]) -> Iterator[str]:
    """Yield what a row allows that does not stand below it; a part of a group may import its group."""
    levels = list(table)
    for place, name in enumerate(levels, 1):
        # Everything is inside gacheck: as a group that is the package's own page alone.
        below = {*levels[place:]} - {"gacheck"}
        yield from (
            f"{name}: {each}" for each in table[name].ours if not inside(each, below) and not inside(name, {each})
        )


def test_the_table_itself_points_down() -> None:
    assert list(upward(ALLOWED)) == []
    assert list(upward(dict(reversed(ALLOWED.items()))))


def used_by(group_name: str) -> set[str]:
    """Return what the modules of a group import."""
    used: set[str] = set()
    for name, (source, package) in SOURCES.items():
        if group_of(name) == group_name:
            reader = Reader(name, package)
            reader.visit(ast.parse(source))
            used |= {found.module for found in reader.imports}
    return used


def unused(name: str, allowed: Group) -> Iterator[str]:
    used = used_by(name)
    libraries = {module.split(".")[0] for module in used}
    yield from (f"{name}: {each}" for each in allowed.ours if not any(inside(module, {each}) for module in used))
    yield from (f"{name}: {each}" for each in allowed.libraries - libraries)


def test_each_allowance_is_used() -> None:
    assert [each for name, allowed in ALLOWED.items() for each in unused(name, allowed)] == []


def test_an_allowance_that_nobody_uses_is_found() -> None:
    assert list(unused("gacheck.rules", group({"gacheck.errors"}, "numpy"))) == [
        "gacheck.rules: gacheck.errors",
        "gacheck.rules: numpy",
    ]


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("gacheck.core.figures", "import torch", "imports torch"),
        ("gacheck.core.figures", "import os.path", "imports os, which has effects"),
        ("gacheck.core.figures", "def f():\n    import time", "imports time, which has effects"),
        ("gacheck.core.figures", "if True:\n    from datetime import datetime", "imports datetime, which has effects"),
        ("gacheck.core.figures", "def f(x):\n    print(x)", "calls print"),
        ("gacheck.core.figures", "from ..measure import session", "imports gacheck.measure"),
        ("gacheck.core.figures", "from gacheck import measure", "imports gacheck.measure"),
        ("gacheck.core.figures", "if TYPE_CHECKING:\n    import torch", "imports torch"),
        ("gacheck.reporters.plot", "import matplotlib", "imports matplotlib"),
        ("gacheck.reporters.plot", "open('x')", "calls open"),
        ("gacheck.reporters.plot", "path.open('w')", "calls open"),
        ("gacheck.reporters.plot", "path.write_text('x')", "calls open"),
        ("gacheck.reporters.plot", "from gacheck.reporters.picture.drawing import draw", "outside a function"),
        ("gacheck.watch.probe", "from gacheck.record.run import RunRecord", "imports gacheck.record.run"),
        ("gacheck.watch.startup.sitecustomize", "import torch", "imports torch"),
        ("gacheck.commands.run", "from gacheck.measure.session import Session", "outside a function"),
        ("gacheck.commands.run", "if True:\n    import gacheck.measure.session", "outside a function"),
        (
            "gacheck.commands.run",
            "if TYPE_CHECKING:\n    pass\nelse:\n    import gacheck.measure",
            "outside a function",
        ),
        ("gacheck.commands.run", "def f():\n    import torch", "imports torch"),
        ("gacheck.record.run", "from gacheck.core import figures", "imports gacheck.core"),
        ("gacheck.measure.session", "from gacheck.core.findings import find", "imports gacheck.core.findings"),
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
            "gacheck.core.figures",
            "import math\nfrom gacheck.record.run import RunRecord\nfrom gacheck.core import verdict",
        ),
        ("gacheck.core.figures", "from . import verdict\nfrom .verdict import Case\nfrom ..rules.table import RULES"),
        ("gacheck.commands.run", "def f():\n    from gacheck.measure.session import Session\n    print(Session)"),
        ("gacheck.commands.run", "if TYPE_CHECKING:\n    from gacheck.measure.session import Session"),
        ("gacheck.record.environment", "from gacheck import __version__\nfrom importlib import metadata"),
        (
            "gacheck.measure.session",
            "import torch\nfrom gacheck.watch.probe import Probe\nfrom gacheck.measure import text",
        ),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert list(violations(source, module)) == []
