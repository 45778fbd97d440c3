"""Lets somebody's model or Trainer be used for a check, and puts everything back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from gacheck.errors import EndedError, GacheckError
from gacheck.frames import exit_call
from gacheck.measure.passes.snapshot import accelerate_kept
from gacheck.measure.user_code import TAKE_OUT, in_user_code
from gacheck.rules.facts import WatchedTraining
from gacheck.watch.attributes import ObjectState
from gacheck.watch.overrides import is_of_transformers
from gacheck.watch.own_loss import rejects_count
from gacheck.watch.restoring import RandomState, books_kept
from gacheck.watch.watch import Watch

# As in an attached training: some faults begin with the second.
NUM_STEPS = 2


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


@contextmanager
def no_traces() -> Iterator[None]:
    """Leave nothing behind of a measurement whose model nobody else has; its warnings are nobody's either."""
    with model_kept(torch.nn.Identity()):
        warnings.simplefilter("ignore")
        yield


class _Seen(BaseException):
    """The steps were seen. No `except Exception` of a Trainer is to hold it up."""


# Events at which somebody's callback may change the settings or the gradients; at others they log and save.
EVENTS_OF_A_STEP = ("on_train_begin", "on_epoch_begin", "on_step_begin", "on_substep_end", "on_pre_optimizer_step")


class _WithinAStep:
    """Somebody's callback, awake within optimizer steps alone."""

    def __init__(self, callback: Any) -> None:
        self._callback = callback

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return getattr(self._callback, name) if name in EVENTS_OF_A_STEP else _do_nothing


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    """Stand in for what is not to happen."""


def watch_first_steps(trainer: Any) -> WatchedTraining | None:
    """Let a Trainer do its first two optimizer steps without their updates, and undo all of it.

    Its callbacks sleep but for what somebody's own do within a step: nothing is logged, saved or reported.

    Returns:
        What was seen, which is no step where the model refuses `num_items_in_batch`; None if the training ended before.

    Raises:
        EndedError: The training ended the program.
        UserCodeError: Code of the user's own raised something.
    """
    seen: list[WatchedTraining] = []

    def noted(facts: WatchedTraining, is_last: bool) -> None:
        seen.append(facts)
        if is_last:
            raise _Seen
        # Both are of no use without an update; on the wrappers that the Trainer made for itself.
        trainer.optimizer.step = trainer.lr_scheduler.step = _do_nothing

    callbacks = trainer.callback_handler.callbacks
    own = [each for each in callbacks if not is_of_transformers(type(each))]
    states = [ObjectState(each) for each in (*own, trainer.optimizer, trainer.lr_scheduler) if each is not None]
    with model_kept(trainer.model), books_kept(trainer):
        try:
            trainer.callback_handler.callbacks = [_WithinAStep(each) for each in own]
            watch = Watch(trainer, num_steps=NUM_STEPS, seen=noted)
            trainer.train()
        except _Seen:
            pass
        except GacheckError:
            raise
        except Exception as error:
            if rejects_count(error):
                with suppress(_Seen):
                    watch.finish()
                return seen[-1] if seen else None
            named = in_user_code(error)
            if named is None:
                raise  # of a library's: its traceback says more than we could
            raise named from error
        except SystemExit as error:
            raise EndedError(
                f"The training called {exit_call(error)} before the end of its first optimizer steps.",
                why="That ends the program, and there is nothing to judge.",
                fix=TAKE_OUT,
            ) from error
        finally:
            for state in states:
                state.restore()
    return seen[-1] if seen and seen[-1].steps else None
