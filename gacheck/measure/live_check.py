"""Lets somebody's model or Trainer be used for a check, and puts everything back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gacheck.errors import ModelError
from gacheck.measure.passes.snapshot import accelerate_kept
from gacheck.measure.user_code import TAKE_OUT, exit_call
from gacheck.rules.facts import WatchedTraining
from gacheck.watch.attributes import ObjectState
from gacheck.watch.restoring import RandomState, books_kept
from gacheck.watch.watch import Watch


@contextmanager
def model_kept(model: torch.nn.Module) -> Iterator[None]:
    """Put a model back: gradients, buffers, mode, hooks, attributes; and random state, environment, accelerate's.

    Weights are not copied: a check that changes them keeps a copy itself.
    """
    random = RandomState.now(model)
    state = ObjectState(*model.modules())
    gradients = [(p, p.grad) for p in model.parameters()]
    held = {id(buffer): buffer for module in state.modules for buffer in module.buffers()}
    buffers = [(buffer, buffer.detach().clone()) for buffer in held.values()]
    with accelerate_kept(), warnings.catch_warnings():
        try:
            yield
        finally:
            state.restore()
            for parameter, gradient in gradients:
                parameter.grad = gradient
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            random.restore()


class _Seen(BaseException):
    """The first step was seen. No `except Exception` of a Trainer is to hold it up."""


def watch_first_step(trainer: Any) -> WatchedTraining | None:
    """Let a Trainer come to the end of its first optimizer step, before the update, and undo that.

    Its callbacks sleep meanwhile: nothing is logged, saved or reported.

    Returns:
        What was seen; None if the training ended before.

    Raises:
        ModelError: The training ended the program.
    """
    seen: list[WatchedTraining] = []

    def noted(facts: WatchedTraining, is_last: bool) -> None:
        seen.append(facts)
        raise _Seen

    with model_kept(trainer.model), books_kept(trainer):
        try:
            trainer.callback_handler.callbacks = []
            Watch(trainer, num_steps=1, seen=noted)
            trainer.train()
        except _Seen:
            pass
        except SystemExit as error:
            raise ModelError(
                f"The training called {exit_call(error)} before the end of its first optimizer step.",
                why="That ends the program, and there is nothing to judge.",
                fix=TAKE_OUT,
            ) from error
    return seen[0] if seen and seen[0].steps else None
