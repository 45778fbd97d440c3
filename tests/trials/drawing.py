"""A seed → a Draw: even seeds draw right trainings, odd ones wrong ones.

Objectives and faults come round in turn, in an order that is shuffled anew every round, so that each is tried as often
as the others; all else is drawn freely. `attempt` counts draws that were of no use: a fault without effect on its data.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.trials.draw import ATTACH, CHECK, CHECK_MODEL, MADE_UP, RUN, TEXT, Draw
from tests.trials.faults import FAULTS, Fault
from tests.trials.heads import HEADS
from tests.trials.objective import HEART, LLAMAS, NAMED, OWN, Objective
from tests.trials.objectives import OBJECTIVES

PRECISIONS = {"float32": 4, "bfloat16 autocast": 2, "bfloat16 weights": 2, "float64 weights": 1}
EXACT = ("float32", "float64 weights")
"""Precisions in which a difference of a thousandth is none of rounding."""
KNOWING = (*(name for name in LLAMAS if "tied" not in name), OWN)
"""Bodies that can be told their rows by heart: with a head of its own, as wide as the vocabulary."""
ROWS = 24
"""Most rows of a step, or not many more."""
MADE_UP_FOR = tuple(name for name, head in HEADS.items() if head.made_up)
DOORS_WITH_DATA = {CHECK_MODEL: (*NAMED, OWN, *MADE_UP_FOR), RUN: ("Llama", OWN, *MADE_UP_FOR)}
"""Doors that bring rows of their own, and the bodies that they take."""
SHARES = {CHECK_MODEL: 0.5, RUN: 0.15}
"""Of the trainings that could go through such a door, those that do."""
BYTES = 300
"""Tokens of gacheck's own tokenizer."""


def draw(seed: int, attempt: int = 0) -> Draw:
    """Draw a training.

    Args:
        seed: Of the trial; odd for a wrong one.
        attempt: How many draws of this seed were of no use.
    """
    random = Random(f"{seed} {attempt}")
    fault = FAULTS[_in_turn(seed // 2, tuple(FAULTS))] if seed % 2 else None
    if fault is None:
        objective = OBJECTIVES[_in_turn(seed // 2, tuple(OBJECTIVES))]
    else:
        objective = random.choice([each for each in OBJECTIVES.values() if fault.goes_with(each.traits)])
    bodies = objective.bodies if fault is None or fault.bodies is None else fault.bodies
    data = objective.data if fault is None or fault.data is None else fault.data
    body = random.choice(bodies)
    k = random.choice((2, 3, 4, 4, 5, 8))
    precision = random.choices(tuple(PRECISIONS), tuple(PRECISIONS.values()))[0]
    if fault is not None and fault.subtle:
        precision = random.choice(EXACT)
    if body == "Mixtral" and precision == "float64 weights":
        precision = "float32"  # torch multiplies no groups of matrices in float64
    # A micro-batch of one row has nothing to be told apart from.
    rows = random.randint(2 if "in-batch" in objective.traits else 1, max(2, min(4, ROWS // k)))
    drawn = Draw(
        seed=random.randrange(2**31),
        objective=objective.name,
        fault=None if fault is None else fault.name,
        body=body,
        data=random.choice([name for name in data if _goes_with(body, name)]),
        precision=precision,
        door=random.choice((CHECK, ATTACH)),
        k=k,
        rows=rows,
        tail=_tail(random, fault, objective, k),
        width=random.choice((16, 32)),
        layers=random.choice((1, 2)),
        spread=random.choice((0.02, 0.1, 0.3)),
        optim=random.choice(("adamw_torch", "sgd")),
        learning_rate=random.choice((1e-3, 1e-2)),
        max_grad_norm=random.choice((0.0, 1.0, 1.0)),
        missing=random.randrange(rows) if "token mean" in objective.traits and random.random() < 0.2 else 0,
        average_tokens_across_devices=random.random() < 0.8,
    )
    if fault is None or not fault.tail:
        for door, bodies_of_door in DOORS_WITH_DATA.items():
            fitting = [each for each in bodies if each in bodies_of_door]
            if fitting and random.random() < SHARES[door]:
                through = _through(door, replace(drawn, body=random.choice(fitting)), fault, objective)
                if through is not None:
                    return through
    return drawn


def _through(door: str, drawn: Draw, fault: Fault | None, objective: Objective) -> Draw | None:
    """Send a training through a door that brings its own data; None where that cannot be."""
    drawn = replace(drawn, door=door, vocabulary=BYTES, tail=drawn.k, missing=0)
    made = objective.build(drawn)
    if fault is not None:
        fault.plant(made)
    if door == CHECK_MODEL:
        is_late = fault is not None and fault.late
        # A model has no autocast.
        fits = made.is_all_in_the_model and not is_late and drawn.precision != "bfloat16 autocast"
        data = "rows of unequal length"
    else:
        fits, data = made.goes_by_name and drawn.precision != "float64 weights", TEXT
    return replace(drawn, data=MADE_UP if drawn.body in HEADS else data) if fits else None


def _goes_with(body: str, data: str) -> bool:
    return data in HEADS[body].data if body in HEADS else data != HEART or body in KNOWING


def _in_turn(number: int, names: tuple[str, ...]) -> str:
    turn, place = divmod(number, len(names))
    order = list(names)
    Random(turn).shuffle(order)
    return order[place]


def _tail(random: Random, fault: Fault | None, objective: Objective, k: int) -> int:
    if fault is not None and fault.tail:
        return random.randint(1, k - 1)
    if "no tail" in objective.traits or random.random() < 0.75:
        return k
    return random.randint(1, k)
