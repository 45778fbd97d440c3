"""Source files, parsed when they are needed, and where a name in one of them comes from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata, util
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGE = "transformers"

# What TensorFlow and JAX compute is trained by another Trainer.
OF_TORCH = re.compile(r"modeling_(?!tf_|flax_)\w+\.py")
_NAME = re.compile(rb"\w+")


@dataclass(frozen=True)
class Imported:
    """A name that comes from another module; of no name, the module itself."""

    module: str
    name: str | None


Binding = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr | Imported


@dataclass(eq=False)
class Source:
    """A module, parsed.

    Attributes:
        name: As it would be imported.
        path: Its file.
        names: What each name at the top of it is; what is bound in branches counts as well, the last one first.
        stars: The modules of which it takes all names.
    """

    name: str
    path: Path
    tree: ast.Module
    names: dict[str, Binding] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for node in _top(self.tree.body):
            self._bind(node)

    @property
    def package(self) -> list[str]:
        """The parts of the package's name from which its relative imports start."""
        parts = self.name.split(".")
        return parts if self.path.name == "__init__.py" else parts[:-1]

    def _bind(self, node: ast.stmt) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self.names[node.name] = node
        elif isinstance(node, ast.Assign):
            self.names |= {each.id: node.value for each in node.targets if isinstance(each, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            self.names[node.target.id] = node.value
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self.names |= self.imports(node)
            if isinstance(node, ast.ImportFrom) and any(each.name == "*" for each in node.names):
                self.stars.append(self._origin(node))

    def imports(self, node: ast.Import | ast.ImportFrom) -> dict[str, Binding]:
        """Return the names that an import binds."""
        if isinstance(node, ast.Import):
            # `import a.b` binds a, `import a.b as c` binds a.b.
            origins = {each.asname or each.name.split(".")[0]: each for each in node.names}
            return {name: Imported(each.name if each.asname else name, None) for name, each in origins.items()}
        origin = self._origin(node)
        return {each.asname or each.name: Imported(origin, each.name) for each in node.names if each.name != "*"}

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.package[: len(self.package) - node.level + 1]
        return ".".join([*package, *([node.module] if node.module else [])])


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those in its branches too."""
    for node in body:
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            parts = [node.body, getattr(node, "orelse", []), *(h.body for h in getattr(node, "handlers", []))]
            for part in reversed(parts):
                yield from _top(part)
        else:
            yield node


class Library:
    """The installed transformers, and files of the user's own beside it.

    Attributes:
        root: The package's folder; None where it is not installed.
        version: Of the release.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or _installed()
        self.version = _version()
        self._sources: dict[str, Source | None] = {}
        self._folders: list[Path] = []

    def add(self, path: Path) -> Source:
        """Take a file of the user's own; what lies beside it can be imported by it.

        Raises:
            OSError: It cannot be read.
            SyntaxError: It is no Python.
        """
        source = _parse(path.stem, path)
        self._sources[source.name] = source
        self._folders.append(path.parent)
        return source

    def source(self, name: str) -> Source | None:
        """Return a module by its name; None where it is of another package, or cannot be read."""
        if name not in self._sources:
            path = self._path(name)
            try:
                self._sources[name] = None if path is None else _parse(name, path)
            except (OSError, SyntaxError, ValueError):
                self._sources[name] = None
        return self._sources[name]

    def close(self) -> None:
        """Let go of every module."""
        self._sources.clear()

    def _path(self, name: str) -> Path | None:
        package, *parts = name.split(".")
        if package == PACKAGE and self.root is not None:
            return _file(self.root.joinpath(*parts))
        found = (_file(folder.joinpath(package, *parts)) for folder in self._folders)
        return next((path for path in found if path is not None), None)

    @cached_property
    def homes(self) -> dict[str, str]:
        """The module of every class in a modeling file of transformers, by the class's name."""
        if self.root is None:
            return {}
        found: dict[str, str] = {}
        for path in [*sorted(self.root.glob("models/*/*.py")), self.root / "modeling_layers.py"]:
            if path.is_file() and (OF_TORCH.fullmatch(path.name) or path.name == "modeling_layers.py"):
                name = ".".join([PACKAGE, *path.relative_to(self.root).with_suffix("").parts])
                found |= dict.fromkeys(_classes_in(path.read_bytes()), name)
        return found


def _classes_in(text: bytes) -> Iterator[str]:
    """Yield the names of the classes at the top of a module; a search for lines by pattern is ten times slower."""
    for after in text.split(b"\nclass ")[1:]:
        if (found := _NAME.match(after)) is not None:
            yield found[0].decode()


def _file(path: Path) -> Path | None:
    choices = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((each for each in choices if each.is_file()), None)


def _parse(name: str, path: Path) -> Source:
    return Source(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))


def _installed() -> Path | None:
    # Both find the file of a package and import nothing; the second knows of packages that are installed to be edited.
    spec = PathFinder.find_spec(PACKAGE) or util.find_spec(PACKAGE)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _version() -> str | None:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
