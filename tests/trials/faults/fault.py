"""What a planted fault is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.trials.building import Build

GRADIENT = frozenset({"UNEXPLAINED"})
TIMES_K = frozenset({"SCALED_BY_ACCUMULATION"})
OVER_K = frozenset({"DIVIDED_TWICE"})
MISCOUNTED = frozenset({"MISALIGNED_COUNT"})


@dataclass(frozen=True)
class Fault:
    """One small thing that makes a right training wrong.

    Attributes:
        name: For the tables.
        group: The class of harm.
        codes: The verdicts that name it. `OTHER_OBJECTIVE` among them: what the code does is an objective too, and
            to say that it is none of the usual ones is all that can be said.
        affects: What it makes wrong: `both`, `log` or `gradient`.
        plant: Changes what the Trainer is made of.
        needs: Traits of the objectives that it goes with; any of them has to be there, all words of it.
        bodies: The models that it goes with; those of the objective by default.
        data: The data that it goes with; those of the objective by default.
        late: The first step is right.
        subtle: It is lost in half precision.
        tail: It shows in a short last step alone.
    """

    name: str
    group: str
    codes: frozenset[str]
    affects: str
    plant: Callable[[Build], object]
    needs: tuple[str, ...] = ("",)
    bodies: tuple[str, ...] | None = None
    data: tuple[str, ...] | None = None
    late: bool = False
    subtle: bool = False
    tail: bool = False

    def goes_with(self, traits: frozenset[str]) -> bool:
        """Whether it can be planted in an objective of these traits."""
        return any(traits >= {word for word in needed.split(", ") if word} for needed in self.needs)


def trainer_mixin(mixin: type) -> Callable[[Build], object]:
    """Plant a class before that of the Trainer."""
    return lambda build: build.mix_trainer(mixin)


def model_mixin(mixin: type) -> Callable[[Build], object]:
    """Plant a class before that of the model."""
    return lambda build: build.mix_model(mixin)


def all_of(*plants: Callable[[Build], object]) -> Callable[[Build], object]:
    """Plant several."""

    def plant(build: Build) -> None:
        for each in plants:
            each(build)

    return plant


def flag_off(build: Build) -> None:
    """Let the model declare that it takes no count."""
    build.on_model.append(_declare_flag_off)


def _declare_flag_off(model: Any) -> None:
    base = getattr(model, "get_base_model", lambda: model)()
    base.accepts_loss_kwargs = False
