"""Makes the teacher of a student."""

from __future__ import annotations

from typing import Any

from tests.trials.building import CLASSES, Build, make_model
from tests.trials.draw import Draw

TEACHER_SEED = 10_007


def teacher(draw: Draw) -> Any:
    """Make the teacher of a student: the plain Llama, with weights of its own."""
    return make_model(Build(_teachers_draw(draw), model_class=CLASSES["Llama"])).eval()


def _teachers_draw(draw: Draw) -> Draw:
    return Draw(
        seed=draw.seed + TEACHER_SEED,
        objective=draw.objective,
        fault=None,
        body="Llama",
        data="packed",
        precision=draw.precision,
        door=draw.door,
        k=1,
        rows=1,
        tail=1,
        vocabulary=draw.vocabulary,
        spread=0.3,
    )
