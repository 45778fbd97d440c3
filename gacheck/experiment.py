"""The plan → run_pass(spec) → PassRecord, saved after every pass. A fake run_pass is a lambda: no torch here."""

from __future__ import annotations

from collections.abc import Callable

from gacheck.errors import ConfigError
from gacheck.plan import PassSpec, plan
from gacheck.record import PassRecord, RunRecord


def missing(record: RunRecord) -> tuple[PassSpec, ...]:
    """List the planned passes that the record lacks."""
    done = {p.id for p in (*record.passes, *record.tail_passes)}
    return tuple(spec for spec in plan(record.config) if spec.id not in done)


def run_passes(
    record: RunRecord, run_pass: Callable[[PassSpec], PassRecord], save: Callable[[RunRecord], object]
) -> RunRecord:
    """Run what is missing and save after every pass.

    Args:
        record: Complete but for passes.
        run_pass: Trains once; a failure is a `PassRecord` too.
        save: Keeps the record; called once before the first pass and after each.
    """
    save(record)
    for spec in missing(record):
        passes = "tail_passes" if spec.tail else "passes"
        record = record.model_copy(update={passes: (*getattr(record, passes), run_pass(spec))})
        save(record)
    return record


def check_same_experiment(earlier: RunRecord, now: RunRecord) -> None:
    """Refuse to go on with a record under other conditions.

    Raises:
        ConfigError: Options, data, model, hardware or versions differ.
    """
    for name in ("config", "data", "model", "hardware", "environment"):
        before, after = getattr(earlier, name).model_dump(), getattr(now, name).model_dump()
        differing = [key for key in after if before.get(key) != after[key]]
        if differing:
            key = differing[0]
            change = f"{name}.{key} was {before.get(key)!r}, now it is {after[key]!r}"
            raise ConfigError(
                f"The earlier run cannot be resumed: its {change}.",
                why="Passes under different conditions cannot be compared.",
                fix="repeat the earlier options, or start anew with another --out or with --force",
            )
