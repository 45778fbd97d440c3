"""The processes of a run: each does every pass, the first keeps the record, and none waits for one that is gone."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, TypeVar

from gacheck.errors import GacheckError, ResourceError, UserCodeError
from gacheck.measure.alarm import Alarm, GiveUp
from gacheck.measure.passes.time_limit import TimeLimit
from gacheck.record.parts import PassRecord, Raw
from gacheck.watch.questions import Exchange
from gacheck.watch.world import World
from gacheck.words.reasons import is_of_user_code

TIME_LIMIT = timedelta(minutes=5)
"""So long one process may be ahead of another, and so long a step may take where no limit is given for a pass."""

# Who failed cannot tell whether the others did, or wait for it in a collective call.
PATIENCE_OF_ONE_THAT_FAILED = timedelta(seconds=10)

R = TypeVar("R", bound=Raw)


class Processes:
    """All that torch.distributed has joined; of one process what it does is done for all.

    Args:
        give_up: Says an error and ends this process, whatever it is doing; without it nobody is interrupted.
        pass_timeout: Seconds that a pass may take; None for no limit.

    Attributes:
        size: How many there are.
        exchange: Tells the others something and returns what each told; None in a run of one.
        time_limit: Of a pass.
    """

    def __init__(self, give_up: GiveUp | None = None, pass_timeout: float | None = None) -> None:
        self._world = World(patience=TIME_LIMIT)
        self._alarm = Alarm(self._world.rank, self._world.size, give_up) if give_up is not None else None
        self.time_limit = TimeLimit(pass_timeout)
        if self._alarm is not None:
            # The time-out of a collective call is not heeded by all of them, gloo's above all.
            of_a_step = TIME_LIMIT.total_seconds() if self._world.size > 1 else None
            self.time_limit = TimeLimit(pass_timeout, self._alarm.overdue, of_a_step)
        self.size = self._world.size
        self.exchange: Exchange | None = self._world.exchange if self.size > 1 else None

    def tell(self, facts: Any) -> list[Any]:
        """Tell the others something and return what each told, by rank.

        Raises:
            ResourceError: One does not answer.
        """
        told = self._world.exchange(facts)
        if told is None:
            raise self._ended(f"{self._silent} did not answer within {TIME_LIMIT.seconds} s.")
        return told

    def first(self, record: R) -> R:
        """Return what the first has, for all to go on with."""
        if self.size == 1:
            return record
        return type(record).model_validate(json.loads(self.tell(record.model_dump_json())[0]))

    def outcome(self, record: PassRecord) -> PassRecord:
        """Return what a pass came to in the first, after it came to the same in all.

        Raises:
            UserCodeError: Code of the user's own failed in some alone.
            ResourceError: Something else did, or one does not answer.
        """
        if self.size == 1:
            return record
        patience = TIME_LIMIT if record.error is None else PATIENCE_OF_ONE_THAT_FAILED
        told = self._world.exchange(record.model_dump_json(), patience, about=record.id)
        if told is None:
            silent = f"{self._silent} did not come to the end of {record.id}"
            if record.error is None:
                raise self._ended(f"{silent}.")
            failure = f"{_failure(self._world.rank, record)}; {silent[0].lower()}{silent[1:]}."
            raise self._ended(failure, of_user_code=is_of_user_code(record.error.kind, record.error.message))
        outcomes = [PassRecord.model_validate(json.loads(each)) for each in told]
        errors = [each.error for each in outcomes]
        if len({error.kind if error else None for error in errors}) > 1:
            failures = [_failure(rank, each) for rank, each in enumerate(outcomes) if each.error is not None]
            of_user_code = any(is_of_user_code(error.kind, error.message) for error in errors if error is not None)
            raise self._ended(f"{'; '.join(failures)}.", of_user_code=of_user_code)
        return outcomes[0]

    def _ended(self, what: str, *, of_user_code: bool = False) -> GacheckError:
        """Tell all processes to end, and return why."""
        error = (UserCodeError if of_user_code else ResourceError)(what, why=_WHY_TOGETHER, fix=_GO_ON)
        if self._alarm is not None:
            self._alarm.end_all(error)
        return error

    @property
    def _silent(self) -> str:
        ranks = ", ".join(map(str, self._world.silent)) or "of another process"
        return f"Rank {ranks}"


_WHY_TOGETHER = "The processes of a training do each step together: without one of them nothing can be measured."
_GO_ON = (
    "look at what that rank did; what was measured before is kept, and the same command with --out and --resume goes on"
)


def _failure(rank: int, record: PassRecord) -> str:
    error = record.error
    if error is None:
        return ""
    said = error.message if error.kind in error.message else f"{error.kind}: {error.message}"
    return f"Rank {rank} failed in {record.id}: {said}"
