"""What an objective is, and which models and data most of them go with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.trials.batches import ALIGNED, DATA, FLATTENED
from tests.trials.building import BODIES, CLASSES, Build
from tests.trials.draw import Draw
from tests.trials.head_rows import OF_HEADS
from tests.trials.heads import HEADS
from tests.trials.right_steps import RightPart

LLAMAS = tuple(name for name in BODIES if name.startswith("Llama") and name not in HEADS)
OWN = "class of one's own"
# The Trainer shifts labels for smoothing only where it knows the class by name.
NAMED = (*LLAMAS, "GPT-2", "GPT-2, dropout", "Qwen2", "Gemma3")
ANY = (*NAMED, OWN, "recurrent network")
HEART = "known by heart"
# Where nothing is left to learn, a focal loss vanishes in rounding, and distillation learns from another teacher.
ALL_DATA = tuple(name for name in DATA if name not in (ALIGNED, *OF_HEADS))
NOT_BY_HEART = tuple(name for name in ALL_DATA if name != HEART)
IN_ROWS = tuple(name for name in ALL_DATA if name != FLATTENED)
# Of rows known by heart it is a difference of large numbers, whose rounding no reference shares.
IN_PAIRS = tuple(name for name in IN_ROWS if name != HEART)


@dataclass(frozen=True)
class Objective:
    """A right training of one kind.

    Attributes:
        name: For the tables.
        traits: What a fault may ask for: the kind of loss, where it is computed, whether the flag is on.
        plan: Fills in what the Trainer is made of.
        part: Makes the right step's part of a micro-batch.
        bodies: Models that it goes with.
        data: Data that it goes with.
        calls_matter: The model counts its forwards.
    """

    name: str
    traits: frozenset[str]
    plan: Callable[[Build], object]
    part: Callable[[Draw], RightPart]
    bodies: tuple[str, ...] = ANY
    data: tuple[str, ...] = ALL_DATA
    calls_matter: bool = False

    def build(self, draw: Draw) -> Build:
        """Return what a right Trainer is made of."""
        build = Build(draw)
        build.model_class = CLASSES[draw.body]
        self.plan(build)
        return build


def traits_of(words: str) -> frozenset[str]:
    """Return the traits that stand in a line, with commas between them."""
    return frozenset(words.split(", "))


def declare_flag_off(model: Any) -> None:
    """Declare that the model does not take the count."""
    getattr(model, "get_base_model", lambda: model)().accepts_loss_kwargs = False
