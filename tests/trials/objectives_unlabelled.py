"""What is trained without labels in the inputs: rewards, contrasts, distillation, what the model writes itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.trials import right_unlabelled, unlabelled
from tests.trials.building import Build
from tests.trials.heads import HEADS
from tests.trials.objective import ANY, Objective, traits_of
from tests.trials.teaching import teacher

MASKED_BY_ROW = (
    "rows of unequal length",
    "prompts masked",
    "one target a row",
    "packed",
    "padded on the left",
    "position_ids",
    "two rows, repeated",
    "very long and very short",
)
"""Data whose attention mask says of every token whether it is one."""
TO_PAD = ("rows of unequal length", "prompts masked", "one target a row", "packed", "very long and very short")
ONE_NUMBER = tuple(name for name in HEADS if name.endswith(("regression", "a reward")))


def _with(trainer_class: Any, arrange: Callable[[Any], Any], *, paired: bool = False) -> Callable[[Build], object]:
    def plan(build: Build) -> None:
        build.trainer_class, build.arrange, build.paired = trainer_class, arrange, paired

    return plan


def _distilling(trainer_class: Any) -> Callable[[Build], object]:
    def plan(build: Build) -> None:
        build.trainer_class = type("Distils", (trainer_class,), {"teacher": teacher(build.draw)})
        build.arrange = unlabelled.Unlabelled

    return plan


OBJECTIVES_UNLABELLED: tuple[Objective, ...] = (
    Objective(
        "rewards, two sides",
        traits_of("no labels, rows, in compute_loss, flag on, the Trainer's step"),
        _with(unlabelled.RewardTrainer, unlabelled.Scored, paired=True),
        lambda draw: right_unlabelled.rewarded,
        bodies=ONE_NUMBER,
        data=tuple({name for body in ONE_NUMBER for name in HEADS[body].data}),
    ),
    Objective(
        "negatives of the micro-batch, nested inputs",
        traits_of("no labels, in-batch, in compute_loss, flag on, the Trainer's step"),
        _with(unlabelled.NegativesTrainer, unlabelled.Nested, paired=True),
        lambda draw: right_unlabelled.told_apart,
        data=MASKED_BY_ROW,
    ),
    Objective(
        "triplets, a list within the inputs",
        traits_of("no labels, rows, in compute_loss, flag on, the Trainer's step"),
        _with(unlabelled.TripletTrainer, unlabelled.Listed, paired=True),
        lambda draw: right_unlabelled.triplets(unlabelled.TripletTrainer.margin),
        data=MASKED_BY_ROW,
    ),
    Objective(
        "distillation without labels, mean over rows",
        traits_of("no labels, rows, in compute_loss, flag on, the Trainer's step"),
        _distilling(unlabelled.DistilsRowsTrainer),
        lambda draw: right_unlabelled.distilled_over_rows(teacher(draw)),
        data=MASKED_BY_ROW,
    ),
    Objective(
        "distillation without labels, a count of its own",
        traits_of("no labels, own count, token mean, in compute_loss, flag on, the Trainer's step"),
        _distilling(unlabelled.DistilsTokensTrainer),
        lambda draw: right_unlabelled.distilled_over_tokens(teacher(draw)),
        data=MASKED_BY_ROW,
    ),
    Objective(
        "rewards for what the model writes, a list of prompts",
        traits_of("no labels, rows, in compute_loss, flag on, the Trainer's step"),
        _with(unlabelled.PolicyTrainer, unlabelled.AsTheyAre),
        lambda draw: right_unlabelled.written,
        # Without position_ids a recurrent network reads the padding on the left.
        bodies=tuple(name for name in ANY if name != "recurrent network"),
        data=TO_PAD,
    ),
    Objective(
        "rows padded in compute_loss, mean over rows",
        traits_of("no labels, rows, in compute_loss, flag on, the Trainer's step"),
        _with(unlabelled.PadsInLossTrainer, unlabelled.AsTheyAre),
        lambda draw: right_unlabelled.padded_in_loss,
        data=TO_PAD,
    ),
)
