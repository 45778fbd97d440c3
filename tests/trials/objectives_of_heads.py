"""Heads of transformers' under a Trainer: every way in which each is right."""

from __future__ import annotations

from collections.abc import Callable

from tests.trials import right_steps, trainers
from tests.trials.building import Build
from tests.trials.draw import RUN, Draw
from tests.trials.head_rows import OF_HEADS, OTHER_TEXT, SPEECH
from tests.trials.heads import HEADS, Head
from tests.trials.models import TakesNoCount
from tests.trials.objective import Objective, declare_flag_off, traits_of
from tests.trials.right_steps import RightPart

NO_COUNT_OF_ITS_OWN = ("Wav2Vec2ForCTC, mean",)
"""Heads whose labels are more than what their loss is a mean over."""


def _those(fit: Callable[[Head], bool]) -> tuple[str, ...]:
    return tuple(name for name, head in HEADS.items() if fit(head))


def _part(draw: Draw) -> RightPart:
    return right_steps.of_head(HEADS[draw.body])


def _as_it_is(build: Build) -> None:
    """The head's own loss under the Trainer."""


def _flag_off(build: Build) -> None:
    if build.draw.door == RUN:
        build.mix_model(TakesNoCount)  # where the class is all that is handed over
    else:
        build.on_model.append(declare_flag_off)


def _saying_that_it_is_a_mean(build: Build) -> None:
    build.trainer_class = trainers.SaysMean


def _in_compute_loss(build: Build) -> None:
    build.trainer_class = trainers.AlignedTrainer


def _in_a_function(build: Build) -> None:
    build.loss_func = trainers.aligned_over_count


def _by_its_share(build: Build) -> None:
    build.trainer_class = trainers.ShareTrainer


OBJECTIVES_OF_HEADS: tuple[Objective, ...] = (
    Objective(
        "head, mean over rows, flag off",
        traits_of("head, rows, in the model, flag off, the Trainer's step"),
        _flag_off,
        _part,
        bodies=_those(lambda head: head.unit == "rows" and head.labelled),
        data=OF_HEADS,
    ),
    Objective(
        "head, mean over rows, loss_is_scaled_for_ga = False",
        traits_of("head, rows, in the model, flag on, the Trainer's step"),
        _saying_that_it_is_a_mean,
        _part,
        bodies=_those(lambda head: head.unit == "rows" and head.labelled and not head.counts),
        data=OF_HEADS,
    ),
    Objective(
        "head, no labels in the inputs",
        traits_of("head, rows, in the model, flag on, the Trainer's step"),
        _as_it_is,
        _part,
        bodies=_those(lambda head: not head.labelled),
        data=OF_HEADS,
    ),
    Objective(
        "head that takes the count",
        traits_of("head, counted, token mean, in the model, flag on, the Trainer's step"),
        _as_it_is,
        _part,
        bodies=_those(lambda head: head.counts),
        data=OF_HEADS,
    ),
    Objective(
        "head, its loss in compute_loss",
        traits_of("head, counted, token mean, in compute_loss, flag on, the Trainer's step"),
        _in_compute_loss,
        _part,
        bodies=_those(lambda head: head.unit == "targets"),
        data=OF_HEADS,
    ),
    Objective(
        "head, its loss in compute_loss_func",
        traits_of("head, counted, token mean, in compute_loss_func, flag on, the Trainer's step"),
        _in_a_function,
        _part,
        bodies=_those(lambda head: head.unit == "targets"),
        # The labels are taken away; a decoder needs inputs of its own.
        data=tuple(name for name in OF_HEADS if name not in (OTHER_TEXT, SPEECH)),
    ),
    Objective(
        "head, its mean by the share of the count",
        traits_of("head, counted, token mean, in compute_loss, flag on, the Trainer's step"),
        _by_its_share,
        _part,
        bodies=_those(lambda head: head.unit != "step" and head.labelled and head.name not in NO_COUNT_OF_ITS_OWN),
        data=OF_HEADS,
    ),
    Objective(
        "head, a sum",
        traits_of("head, sum, in the model, flag on, the Trainer's step"),
        _as_it_is,
        _part,
        bodies=_those(lambda head: head.unit == "step"),
        data=OF_HEADS,
    ),
)
"""A mean over rows is right where all micro-batches have as many: of what takes no count they do."""
