"""A seed → a Draw: even seeds draw right trainings, odd ones wrong ones.

Objectives and faults come round in turn, in an order that is shuffled anew every round, so that each is tried as often
as the others; all else is drawn freely. `attempt` counts draws that were of no use: a fault without effect on its data.
"""

from __future__ import annotations

from random import Random

from tests.trials.building import BODIES
from tests.trials.draw import Draw
from tests.trials.faults import FAULTS, Fault
from tests.trials.objectives import HEART, OBJECTIVES, OWN, Objective

PRECISIONS = {"float32": 4, "bfloat16 autocast": 2, "bfloat16 weights": 2, "float64 weights": 1}
KNOWING = (*(name for name in BODIES if name.startswith("Llama") and "tied" not in name), OWN)
"""Bodies that can be told their rows by heart: with a head of its own, as wide as the vocabulary."""
CHECK, ATTACH = "check(trainer)", "attach"
SHOWS_TWO_STEPS = frozenset({ATTACH})
MICRO_BATCHES = 24
"""Most rows of a step."""


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
    kind = random.choice([name for name in data if name != HEART or body in KNOWING])
    k = random.choice((2, 3, 4, 4, 5, 8))
    door = _door(random, fault, objective)
    return Draw(
        seed=random.randrange(2**31),
        objective=objective.name,
        fault=None if fault is None else fault.name,
        body=body,
        data=kind,
        precision=random.choices(tuple(PRECISIONS), tuple(PRECISIONS.values()))[0],
        door=door,
        k=k,
        rows=random.randint(1, max(1, min(4, MICRO_BATCHES // k))),
        tail=_tail(random, fault, objective, k),
        width=random.choice((16, 32)),
        layers=random.choice((1, 2)),
        spread=random.choice((0.02, 0.1, 0.3)),
        optim=random.choice(("adamw_torch", "sgd")),
        learning_rate=random.choice((1e-3, 1e-2)),
        max_grad_norm=random.choice((0.0, 1.0, 1.0)),
    )


def _in_turn(number: int, names: tuple[str, ...]) -> str:
    turn, place = divmod(number, len(names))
    order = list(names)
    Random(turn).shuffle(order)
    return order[place]


def _door(random: Random, fault: Fault | None, objective: Objective) -> str:
    doors = [CHECK, ATTACH]
    if fault is not None and fault.late:
        doors.remove(CHECK)
    return random.choice(doors)


def _tail(random: Random, fault: Fault | None, objective: Objective, k: int) -> int:
    if fault is not None and fault.tail:
        return random.randint(1, k - 1)
    if "no tail" in objective.traits or random.random() < 0.75:
        return k
    return random.randint(1, k)
