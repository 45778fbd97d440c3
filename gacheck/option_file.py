"""Reads a YAML file of options; what is wrong with it is said with the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.events import AliasEvent

from gacheck.errors import ConfigError, one_line

MOST_BYTES = 1_000_000
"""Of a file of options; a larger one is a slip of the pen."""

_EXAMPLE = "write one option a line, such as  max_steps: 8"


class _Loader(yaml.SafeLoader):
    """Reads as YAML does, but for two things.

    Of a key that stands there twice YAML would silently take the last. An alias can stand for as much again as all
    before it, so that a page of them is more than any memory holds.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="an alias (*name) is not read here", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise _Twice(name, seen[name] + 1, key.start_mark.line + 1)
            seen[name] = key.start_mark.line
        return super().construct_mapping(node, deep)


class _Twice(yaml.YAMLError):
    """A key stands there twice."""

    def __init__(self, key: str, first: int, second: int) -> None:
        super().__init__(key)
        self.key, self.lines = key, (first, second)


def read_yaml(text: str) -> Any:
    """Read YAML from text.

    Raises:
        yaml.YAMLError: It is none, or a value in it is none that can be: the 45th of a month, ten thousand brackets.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (ValueError, RecursionError) as error:
        raise yaml.YAMLError(one_line(error)) from None


def read_options(path: Path) -> dict[str, Any]:
    """Return the keys of a YAML file as they stand there, with their values.

    Raises:
        ConfigError: The file cannot be read, or holds something else.
    """
    try:
        content = read_yaml(_text(path))
    except OSError as error:
        raise _unreadable(path, error) from None
    except _Twice as error:
        raise ConfigError(
            f"{path} has {error.key!r} twice, in lines {error.lines[0]} and {error.lines[1]}.",
            why="Only one of the two values can be meant.",
            fix=f"delete line {error.lines[0]} or line {error.lines[1]}",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _not_yaml(path, error) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = {"list": "a list", "str": "text", "int": "a number", "float": "a number"}.get(type(content).__name__)
        raise ConfigError(
            f"{path} holds {kind or 'something else'}, not a mapping of options.",
            why="Options are read by name.",
            fix=_EXAMPLE,
        )
    return {str(key): value for key, value in content.items()}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigError(
            f"The configuration file {path} is larger than {MOST_BYTES / 1e6:.0f} MB.",
            why="--config names a YAML file with the options of the run, a few lines.",
            fix=f"name another file; {_EXAMPLE}",
        )
    return content.decode("utf-8-sig")


def _unreadable(path: Path, error: OSError) -> ConfigError:
    fix = "check the path and its permissions"
    if path.is_dir():
        files = sorted(each.name for pattern in ("*.yaml", "*.yml") for each in path.glob(pattern))
        fix = f"name a file in it, such as  --config {path / files[0]}" if files else "name a YAML file"
    return ConfigError(
        f"The configuration file {path} cannot be read: {error.strerror}.",
        why="--config names a YAML file with the options of the run.",
        fix=fix,
    )


def _not_yaml(path: Path, error: yaml.YAMLError | UnicodeDecodeError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    line = f" in line {mark.line + 1}" if mark is not None else ""
    problem = one_line(getattr(error, "problem", None) or error)
    fix = f"fix line {mark.line + 1}; {_EXAMPLE}" if mark is not None else _EXAMPLE
    if "'\\t'" in problem:
        problem, fix = "a tab", f"replace the tab{line} by spaces"
    elif isinstance(error, UnicodeDecodeError):
        problem, fix = "it is not UTF-8", "save the file as UTF-8"
    return ConfigError(f"{path} is not valid YAML{line}: {problem}.", why="No option can be read.", fix=fix)
