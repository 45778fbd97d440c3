"""Gives a stand-in back what its reduction broke: where its parts do not fit together, or it takes no row.

Most sizes can be made small by themselves, some only with others: a width that a convolution's groups divide, the bins
of a spectrogram that an encoder stacks. What says which ones is the error: its numbers, and the lines that raised it.
"""

from __future__ import annotations

import copy
import linecache
import re
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from gacheck.measure.heads.recipe import NoRecipe
from gacheck.measure.models.parts import all_configs
from gacheck.measure.models.sizes import IMAGE

Made = TypeVar("Made")

MOST_TRIES = 20
DEEPEST = 4
"""Errors that follow one another."""

_HEADS = re.compile(r"(.*_)?(attention|key_value)_heads")

Path = tuple[str, ...]


def fit(original: Any, tiny: Any, make: Callable[..., Made], hopeless: Callable[[Exception], bool]) -> Made:
    """Make something of a tiny config, or of the first with some of its fields as they were with which it succeeds.

    A field whose return makes another error of the one that there was stays, and what that one tells is followed.

    Args:
        original: The config that was reduced.
        tiny: What became of it; stays as it is.
        make: Raises where the config does not fit; is told where it is asked again, and where it is to go on from
            what came furthest.
        hopeless: Whether no other size can change an error.

    Raises:
        Exception: What it raised at first, where nothing given back helps.
    """
    try:
        return make(tiny)
    except Exception as error:
        if hopeless(error):
            raise
        again = _Tries(original, partial(make, again=True), hopeless)
        made: Made | None = again.search(tiny, error, _told)
        if made is None and _furthest(error) is not _told(error):
            again.make = partial(make, again=True, hinted=True)
            made = again.made(_with_wider_heads(tiny)) or again.search(tiny, error, _furthest)
        if made is None:
            raise again.hopeless or error from None
        return made


def _told(error: Exception) -> Exception:
    """Return what an error came from, where no rows of several were taken: the first that was said of any."""
    return error.__cause__ if isinstance(error.__cause__, NoRecipe) else error


def _furthest(error: Exception) -> Exception:
    """Return what was raised with the rows with which the code came furthest, where no rows were taken."""
    cause = _told(error)
    return cause.furthest or cause if isinstance(cause, NoRecipe) else cause


class _Tries:
    """Makes what a config is of, again and again; of a config that was reduced some fields are given back.

    Args:
        original: The config that was reduced.
        make: Raises where a config does not fit.
        is_hopeless: Whether no other size can change an error.
    """

    def __init__(self, original: Any, make: Callable[[Any], Any], is_hopeless: Callable[[Exception], bool]) -> None:
        self._original, self.make, self._is_hopeless = original, make, is_hopeless
        self.hopeless: Exception | None = None

    def made(self, config: Any) -> Any:
        """Make what a config is of; None where it does not fit."""
        try:
            return self.make(config)
        except Exception as error:
            self._remember(error)
            return None

    def search(self, tiny: Any, first: Exception, blamed: Callable[[Exception], Exception]) -> Any:
        """Give back one suspect after the other, and of each new error its own suspects first; None where none helps.

        Args:
            tiny: Of what the first error was raised.
            first: The error.
            blamed: Returns what of an error names suspects.
        """
        told = {str(blamed(first))}
        waiting = [(tiny, _suspects(self._original, tiny, blamed(first)))]
        for _ in range(MOST_TRIES):
            config, suspects = waiting[-1]
            paths = next(suspects, None)
            if paths is None:
                waiting.pop()
                if not waiting:
                    break
                continue
            changed = _given_back(self._original, config, paths)
            try:
                return self.make(changed)
            except Exception as error:
                self._remember(error)
                why = blamed(error)
                if str(why) not in told and len(waiting) < DEEPEST:
                    told.add(str(why))
                    waiting.append((changed, _suspects(self._original, changed, why)))
        return None

    def _remember(self, error: Exception) -> None:
        """Keep an error that no size changes: it is told where nothing helps."""
        if self._is_hopeless(error):
            self.hopeless = error


def _with_wider_heads(tiny: Any) -> Any:
    """Return a copy of a tiny config with half as many heads, each twice as wide: some are no narrower."""
    changed = copy.deepcopy(tiny)
    for part in all_configs(changed):
        for name, value in vars(part).items():
            if _HEADS.fullmatch(name) and isinstance(value, int) and value > 1:
                vars(part)[name] = value // 2
    return changed


def _given_back(original: Any, tiny: Any, paths: tuple[Path, ...]) -> Any:
    """Return a copy of a tiny config, some of its fields as they were."""
    changed = copy.deepcopy(tiny)
    for path in paths:
        setattr(_part(changed, path), path[-1], copy.deepcopy(vars(_part(original, path))[path[-1]]))
    return changed


def _suspects(original: Any, tiny: Any, error: Exception) -> Iterator[tuple[Path, ...]]:
    """Walk through what may be given back, the likeliest first: single fields, then those reduced alike."""
    reduced = dict(_reduced(original, tiny))
    told = str(error)
    numbers = {int(each) for each in re.findall(r"\d+", told)}
    words = set(re.findall(r"\w+", f"{told} {' '.join(_lines(error))}"))

    def rank(path: Path) -> int:
        before, after = reduced[path]
        named = path[-1] in words
        counted = before in numbers or after in numbers if isinstance(after, int) else False
        return 4 - 2 * counted - named - 3 * bool(IMAGE.fullmatch(path[-1]))

    ranked = sorted(reduced, key=rank)
    yield from ((path,) for path in ranked if rank(path) < 4)
    alike: dict[str, list[Path]] = {}
    for path in ranked:
        alike.setdefault(str(reduced[path]), []).append(path)
    yield from (tuple(paths) for paths in alike.values() if len(paths) > 1)
    yield from ((path,) for path in ranked if rank(path) == 4)


def _reduced(original: Any, tiny: Any, within: Path = ()) -> Iterator[tuple[Path, tuple[Any, Any]]]:
    """Walk through the fields that were reduced, in the configs within a config too, with both values."""
    before = vars(original)
    for name, after in vars(tiny).items():
        if hasattr(after, "model_type"):
            if hasattr(before.get(name), "model_type"):
                yield from _reduced(before[name], after, (*within, name))
        elif _is_size(after) and _is_size(before.get(name)) and _differ(before[name], after) and "vocab" not in name:
            yield (*within, name), (before[name], after)


def _differ(before: Any, after: Any) -> bool:
    return (list(before) != list(after)) if isinstance(before, (list, tuple)) else bool(before != after)


def _is_size(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_size(each) for each in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _part(config: Any, path: Path) -> Any:
    for name in path[:-1]:
        config = getattr(config, name)
    return config


def _lines(error: BaseException) -> Iterator[str]:
    """Walk through the lines that raised, those of what it was raised from too."""
    for frame in traceback.extract_tb(error.__traceback__):
        first, last = frame.lineno or 1, getattr(frame, "end_lineno", None) or frame.lineno or 1
        yield from linecache.getlines(frame.filename)[first - 1 : last]
    if error.__cause__ is not None:
        yield from _lines(error.__cause__)
