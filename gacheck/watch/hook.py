"""In the process of an attached training: watches the Trainers that it makes, and writes down what was seen.

What to do comes by the environment, as it reaches every process that a launcher starts: see `startup/sitecustomize.py`.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from gacheck.errors import one_line
from gacheck.rules.facts import Flag, WatchedTraining
from gacheck.watch.description import kind_of
from gacheck.watch.startup.sitecustomize import ALIKE, FACTS_FOLDER, NUM_STEPS, STOP
from gacheck.watch.watch import Watch

_chosen: WeakKeyDictionary[Any, Flag] = WeakKeyDictionary()
_watched: set[tuple[Any, ...]] = set()


def watch_class(trainer_class: Any) -> None:
    """Watch every instance of the class and of its subclasses from the start of its training."""
    make, train = trainer_class.__init__, trainer_class.train

    @functools.wraps(make)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        if hasattr(self, "model_accepts_loss_kwargs"):
            _chosen[self] = Flag.of(self.model_accepts_loss_kwargs)

    @functools.wraps(train)
    def trained(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch: Watch | None = _guarded(lambda: _begin(self))
        try:
            return train(self, *args, **kwargs)
        finally:
            if watch is not None:
                _guarded(watch.finish)
                for error in watch.trouble:
                    _leave_error(error)

    trainer_class.__init__, trainer_class.train = made, trained
    _leave("transformers")


def _begin(trainer: Any) -> Watch | None:
    # A search over learning rates makes many Trainers of one kind: the first says it for all.
    kind = kind_of(trainer)
    if kind in _watched:
        _leave(ALIKE, "\n")
        return None
    _watched.add(kind)
    name = str(len(_watched))

    def seen(facts: WatchedTraining, is_last: bool) -> None:
        if watch.rank == 0:
            _guarded(lambda: _write(facts, name))
        else:
            _leave("rank")
        # A training that failed ends as it would have.
        if is_last and os.environ.get(STOP) and sys.exc_info()[0] is None:
            _end()

    if os.environ.get(STOP):
        trainer.add_callback(_SavesNothing())
    steps, chosen = int(os.environ[NUM_STEPS]), _chosen.get(trainer)
    watch = Watch(trainer, num_steps=steps, seen=seen, chosen_loss_kwargs=chosen)
    return watch


def _guarded(act: Callable[[], Any]) -> Any:
    """Do something of ours; what goes wrong is noted, and the training goes on."""
    try:
        return act()
    except Exception as error:
        _leave_error(error)
        return None


def _write(facts: WatchedTraining, name: str) -> None:
    """Write what rank 0 says for all: whole or not at all, and anew after every step."""
    path = Path(os.environ[FACTS_FOLDER]) / f"training-{os.getpid()}-{name}.json"
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(asdict(facts)), encoding="utf-8")
    unfinished.replace(path)


class _SavesNothing:
    """A callback for a training that is to end after the check: steps before that leave no checkpoint."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        control.should_save = False
        return control

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *args, **kwargs: None
        raise AttributeError(name)


def _end() -> None:
    """End the process where only the check was wanted: at once, so that nothing after it saves anything."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _leave_error(error: Exception) -> None:
    _leave("trouble", f"{type(error).__name__}: {one_line(error)}\n")


def _leave(name: str, text: str = "") -> None:
    # The command that waits may be gone, and its folder with it.
    with suppress(OSError), (Path(os.environ[FACTS_FOLDER]) / name).open("a", encoding="utf-8") as file:
        file.write(text)
