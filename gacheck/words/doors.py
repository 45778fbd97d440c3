"""At which door a training came in, and so what can be typed there."""

from __future__ import annotations

from enum import Enum

from gacheck.core.verdict import Case
from gacheck.record.command import asked_by


class Door(Enum):
    """A way to ask gacheck."""

    RUN = "run"
    SMOKE = "smoke"
    ATTACH = "attach"
    CODE = "code"


def door_of(case: Case) -> Door:
    """Return the command that made the record; what no command made was asked for in code."""
    name = asked_by(case.record.command)
    doors = (Door.ATTACH,) if case.attached is not None else (Door.RUN, Door.SMOKE)
    return next((door for door in doors if door.value == name), Door.CODE)


def run_command(case: Case) -> str | None:
    """Return the command that measures the model's class by itself; None where it would build another class."""
    model = case.record.model
    if not model.built_by_auto_class or model.adapter is not None:
        return None
    return f"gacheck run --model tiny:{model.model_type}"
