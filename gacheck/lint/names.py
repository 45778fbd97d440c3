"""Names: what each stands for, through imports and from module to module."""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING

from gacheck.lint.objects import Frame, Function, ModuleObject
from gacheck.lint.sources import PACKAGE, Binding, Imported, Source
from gacheck.lint.values import OTHER, Foreign, Value

if TYPE_CHECKING:
    from gacheck.lint.reader import Reader

# The classes that choose another by a config.
AUTO = f"{PACKAGE}.models.auto"


class Names:
    """Resolves names; what each is, is found once.

    Args:
        reader: Reads what they are bound to.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._resolved: dict[tuple[str, str], Value] = {}

    def close(self) -> None:
        """Forget them."""
        self._resolved.clear()

    def resolve(self, source: Source, name: str) -> Value:
        """Return what a name at the top of a module is."""
        key = (str(source.path), name)
        if key not in self._resolved:
            self._resolved[key] = OTHER  # of what depends on itself nothing is known
            self._resolved[key] = self._resolve(source, name)
        return self._resolved[key]

    def _resolve(self, source: Source, name: str) -> Value:
        if name in source.names:
            return self.bound(source, name, source.names[name])
        for star in source.stars:
            other = self._reader.library.source(star)
            if other is not None and name in other.names:
                return self.resolve(other, name)
        return Foreign(f"builtins.{name}") if hasattr(builtins, name) else OTHER

    def bound(self, source: Source, name: str, binding: Binding) -> Value:
        """Return what a binding makes of a name."""
        if isinstance(binding, Imported):
            return self.imported(binding)
        if isinstance(binding, ast.ClassDef):
            return self._reader.classes.of(source, binding)
        if isinstance(binding, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return Function(binding, source)
        return self._reader.evaluate(Frame(source), binding)

    def imported(self, binding: Imported) -> Value:
        """Return what an import brings."""
        module, name = binding.module, binding.name
        full = module if name is None else f"{module}.{name}"
        if full.startswith(AUTO):
            return Foreign(full)
        if module == PACKAGE and name is not None and name in self._reader.library.homes:
            module = self._reader.library.homes[name]
        source = self._reader.library.source(module)
        if name is None or source is None or not (name in source.names or source.stars):
            # What a package does not bind may be a module in it.
            source = self._reader.library.source(module if name is None else f"{module}.{name}")
            return Foreign(full) if source is None else ModuleObject(source)
        return self.resolve(source, name)
