"""Which classes the names on the command line mean: classes, types, patterns, or files of the user's own."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from gacheck.errors import ConfigError, PackageError
from gacheck.lint.answer import takes_labels
from gacheck.lint.classes import ClassSource
from gacheck.lint.reader import Reader
from gacheck.lint.sources import PACKAGE, Source

STAND_IN = "tiny:"
BASE = "PreTrainedModel"
AUTO = f"{PACKAGE}.models.auto.modeling_auto"


def select(reader: Reader, names: Iterable[str]) -> list[ClassSource]:
    """Return the classes that names mean, each once; of no name, every class of transformers that takes labels.

    Raises:
        ConfigError: A name means none, or its file cannot be read.
        PackageError: transformers is not installed, and a name means a class of it.
    """
    given = list(names)
    found = [each for name in given for each in _meant(reader, name)] if given else list(_every(reader))
    return list(dict.fromkeys(found))


def _meant(reader: Reader, name: str) -> list[ClassSource]:
    path, _, class_name = name.partition(".py:")
    if class_name:
        return _of_file(reader, Path(f"{path}.py"), class_name)
    if name.endswith(".py"):
        return _of_file(reader, Path(name), None)
    _require_transformers(reader)
    wanted = name.removeprefix(STAND_IN)
    if wanted in reader.library.homes:
        return [each for each in [_class(reader, wanted)] if each is not None]
    found = _of_type(reader, wanted)
    if any(character in wanted for character in "*?["):
        found += _every(reader, wanted)
    if not found:
        raise _unknown(reader, name, wanted)
    return found


def _require_transformers(reader: Reader) -> None:
    if reader.library.root is None:
        raise PackageError(
            "transformers is not installed.",
            why="Its sources are what is read.",
            fix="pip install transformers, or name a file of your own:  gacheck lint my_modeling.py",
        )


def _class(reader: Reader, name: str) -> ClassSource | None:
    source = reader.library.source(reader.library.homes[name])
    found = None if source is None else reader.names.resolve(source, name)
    return found if isinstance(found, ClassSource) else None


def _every(reader: Reader, pattern: str = "*") -> Iterator[ClassSource]:
    """Yield the models of transformers that take labels, in the order of their names."""
    _require_transformers(reader)
    for name in sorted(reader.library.homes, key=str.lower):
        if fnmatchcase(name, pattern):
            found = _class(reader, name)
            if found is not None and found.inherits(BASE) and takes_labels(found):
                yield found


def _of_type(reader: Reader, model_type: str) -> list[ClassSource]:
    """Return the models of a type: what stands in its folder, and what the auto classes make of it."""
    folder = f"{PACKAGE}.models.{model_type.replace('-', '_')}."
    inside = [name for name, home in reader.library.homes.items() if home.startswith(folder)]
    named = [*inside, *_made_of(reader, model_type)]
    found = (_class(reader, name) for name in sorted(dict.fromkeys(named), key=str.lower))
    return [each for each in found if each is not None and each.inherits(BASE) and takes_labels(each)]


def _made_of(reader: Reader, model_type: str) -> list[str]:
    """Return the classes that the tables of the auto classes name for a type."""
    source = reader.library.source(AUTO)
    pairs = [] if source is None else [node for node in ast.walk(source.tree) if isinstance(node, ast.Tuple)]
    names = [
        each.value
        for pair in pairs
        if len(pair.elts) == 2 and isinstance(pair.elts[0], ast.Constant) and pair.elts[0].value == model_type
        for each in ast.walk(pair.elts[1])
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]
    return [name for name in names if name in reader.library.homes]


def _unknown(reader: Reader, name: str, wanted: str) -> ConfigError:
    types = {home.split(".")[2] for home in reader.library.homes.values() if home.count(".") > 2}
    known = {each.lower(): each for each in [*reader.library.homes, *types]}
    close = [known[each] for each in difflib.get_close_matches(wanted.lower(), known, n=3)]
    return ConfigError(
        f"No class that takes labels is called {name!r}.",
        why=f"transformers {reader.library.version}, which is installed, has no class, type or match of that name.",
        fix=f"did you mean  {' or '.join(close)}?"
        if close
        else "name a class, a type such as  llama,  a pattern such as  'Qwen*',  or a file",
    )


def _of_file(reader: Reader, path: Path, class_name: str | None) -> list[ClassSource]:
    source = _read_file(reader, path)
    defined = [name for name, node in source.names.items() if isinstance(node, ast.ClassDef)]
    classes = {name: reader.names.resolve(source, name) for name in defined}
    own = {name: made for name, made in classes.items() if isinstance(made, ClassSource)}
    if class_name is None:
        found = [made for made in own.values() if takes_labels(made)]
        what, fix = (
            "has no class whose forward takes labels",
            f"name one:  gacheck lint {path}:{next(iter(own), 'MyModel')}",
        )
    else:
        found = [own[class_name]] if class_name in own else []
        close = difflib.get_close_matches(class_name, own, n=1) or list(own)[:3]
        what, fix = f"has no class {class_name}", f"its classes are  {', '.join(close) or 'none'}"
    if not found:
        raise ConfigError(f"{path} {what}.", why="There is nothing to read in it.", fix=fix)
    return found


def _read_file(reader: Reader, path: Path) -> Source:
    try:
        return reader.library.add(path)
    except SyntaxError as error:
        what = f"{path} is not understood: {error.msg} (line {error.lineno})."
    except (OSError, ValueError) as error:
        what = f"{path} cannot be read: {getattr(error, 'strerror', None) or error}."
    raise ConfigError(what, why="Its source is what is read.", fix="name a Python file that can be imported")
