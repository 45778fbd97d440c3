"""Whether a run can go on with what an earlier one measured: only under the same conditions. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gacheck.errors import ConfigError
from gacheck.misuse import flag_of
from gacheck.record.run import RunRecord


class Part(Protocol):
    """A part of a record."""

    def model_dump(self) -> dict[str, Any]:
        """Return its fields."""


def check_same_experiment(earlier: RunRecord, now: Mapping[str, Part]) -> None:
    """Refuse to go on with a record under other conditions.

    Args:
        earlier: The record.
        now: The parts of one that would be begun now, by name: options, data, model, hardware, versions, fingerprints.

    Raises:
        ConfigError: One of them differs, or it cannot be told whether it does.
    """
    for name, part in now.items():
        before = getattr(earlier, name)
        if before is None:
            raise _refused(
                "it cannot be told whether weights and code are the same",
                why=f"The record holds no {name}: an earlier gacheck wrote it.",
            )
        change = _change(name, before.model_dump(), part.model_dump())
        if change:
            raise _refused(change, why="Passes under different conditions cannot be compared.")


def _refused(difference: str, *, why: str) -> ConfigError:
    return ConfigError(
        f"The earlier run cannot be resumed: {difference}.",
        why=why,
        fix="repeat the earlier options, or start anew with another --out or with --force",
    )


def _change(name: str, before: dict[str, object], now: dict[str, object]) -> str | None:
    """Say what differs first; None where nothing does."""
    key = next((key for key in now if before.get(key) != now[key]), None)
    if key is None:
        return None
    if name == "fingerprints":
        return _changed_content(key, before[key], now[key])
    what = flag_of(key) if name == "config" else f"{name}.{key}"
    return f"its {what} was {before.get(key)!r}, now it is {now[key]!r}"


def _changed_content(key: str, before: object, now: object) -> str:
    if isinstance(before, dict) and isinstance(now, dict):  # sources, by module
        module = next(each for each in sorted({*before, *now}) if before.get(each) != now.get(each))
        if module in before and module in now:
            return f"the source of the module {module} was edited since"
        return f"the module {module} was used {'then, and is not now' if module in before else 'not then, and is now'}"
    if key == "weights":
        return "the weights of the model are others than then"
    return "the config of the model is another than then"
