"""What is asked of a training once its step turned out to be other than that of plain cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from gacheck.rules.facts import CodeLocation, EvaluationFacts, OwnLossFacts, Unit
from gacheck.watch.batches import Prepared, num_rows
from gacheck.watch.description import declares_sum
from gacheck.watch.evaluation import evaluate_twice, will_evaluate
from gacheck.watch.replays import ask_location, returns_k_times
from gacheck.watch.seen import Seen
from gacheck.watch.spread import is_spread
from gacheck.watch.units import count_of_step, find_unit

Exchange = Callable[[Any], "list[Any] | None"]
"""Tells the other processes something and returns what each told."""


class Questions:
    """Each is asked once a training.

    Args:
        trainer: Who is asked.
        locate: Whether to look for the line that computes the loss.
        exchange: None in a training of one process.

    Attributes:
        own_loss: What was answered; and what its owner knows without asking.
        location: Of the line, outermost last; none where that was not asked, or not found.
        evaluation: What `eval_loss` makes of the size of its batches; None where that was not asked.
    """

    def __init__(self, trainer: Any, *, locate: bool, exchange: Exchange | None) -> None:
        self._trainer = trainer
        self._locate = locate
        self._exchange = exchange
        self.own_loss = OwnLossFacts()
        self.location: tuple[CodeLocation, ...] = ()
        self.evaluation: EvaluationFacts | None = None

    @property
    def may_ask(self) -> bool:
        """Whether what `compute_loss` says is what the training minimises."""
        return self.own_loss.is_asked is not False

    def ask(self, seen: Sequence[Seen], *, shifts: bool) -> None:
        """Ask what explains a step; a question that cannot be answered stays open.

        Args:
            seen: Its micro-batches.
            shifts: Whether the loss shifts the labels.
        """
        last = seen[-1]
        # What several rows mean is to be told by the loss of one where all micro-batches have just that.
        has_unit = any(each.is_other for each in seen) or all(num_rows(each.inputs) == 1 for each in seen)
        # Of weights that are spread no process may ask alone.
        has_unit = has_unit and not is_spread(self._trainer.model)
        asks_k, asks_unit, asks_location = self._anywhere(
            self.may_ask and self.own_loss.times_k is None,
            self.may_ask and has_unit and self.own_loss.unit is None,
            self._locate and not self.location,
        )
        if asks_k:
            with suppress(Exception):
                times_k = returns_k_times(self._trainer, last.inputs, shifts=shifts, is_counted=last.is_counted)
                self.own_loss = replace(self.own_loss, times_k=times_k)
        if asks_unit:
            (asks_pairs,) = self._anywhere(not self._ask_unit(seen, shifts=shifts))
            if asks_pairs:
                self._ask_unit(seen, together=2, shifts=shifts)
        if asks_location:
            with suppress(Exception):
                self.location = ask_location(self._trainer, last.inputs, last.start, shifts=shifts)

    def count_of_step(self, seen: Sequence[Seen]) -> float | None:
        """Ask the training's own code what it counts in a step; None where the Trainer counts."""
        if self._exchange is not None or not any(each.has_own_count for each in seen):
            return None
        with suppress(Exception):
            return count_of_step(self._trainer, [each.inputs for each in seen])
        return None

    def ask_evaluation(self, seen: Sequence[Seen]) -> None:
        """Ask for `eval_loss`, where the training will; of several processes it would be a collective call."""
        prompts = any(isinstance(each.inputs, Prepared) for each in seen)  # preparing them anew would draw others
        if not self._locate or self._exchange is not None or prompts or not will_evaluate(self._trainer):
            return
        with suppress(Exception):
            self.evaluation = evaluate_twice(self._trainer, [each.inputs for each in seen])

    def _anywhere(self, *here: bool) -> tuple[bool, ...]:
        """Return what holds in any process: a question can hold a collective call, which all have to make."""
        if self._exchange is None:
            return here
        everywhere = self._exchange(list(here))
        return tuple(map(any, zip(*everywhere))) if everywhere is not None else (False,) * len(here)

    def _ask_unit(self, seen: Sequence[Seen], together: int = 1, *, shifts: bool) -> bool:
        """Ask what the own loss is a mean over, unless that is known; what cannot be told apart is not.

        Return whether so few rows together have a loss: one row of a pair has none.
        """
        try:
            found = self._find_unit(seen, together, shifts=shifts)
        except Exception:
            return False
        self.own_loss = replace(self.own_loss, unit=self.own_loss.unit or found)
        return True

    def _find_unit(self, seen: Sequence[Seen], together: int, *, shifts: bool) -> Unit | None:
        if any(isinstance(each.inputs, Prepared) for each in seen):
            return None  # what was prepared for a whole step, its count among it, says nothing of single rows
        others = [each.replayed for each in seen if each.replayed is not None and each.is_other]
        if others and all(each.is_mean_over_rows for each in others):
            return "rows"
        inputs, is_counted = [each.inputs for each in seen], any(each.is_counted for each in seen)
        declared = declares_sum(self._trainer.model)
        found = find_unit(self._trainer, inputs, together, shifts=shifts, is_counted=is_counted, declared=declared)
        return "own count" if found == "sum" and any(each.has_own_count for each in seen) else found
