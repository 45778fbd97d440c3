"""The processes of a run: each does every pass, the first keeps the record, and none waits for one that is gone."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, TypeVar

from gacheck.errors import ResourceError
from gacheck.record.parts import PassRecord, Raw
from gacheck.watch.questions import Exchange
from gacheck.watch.world import World

TIME_LIMIT = timedelta(minutes=5)
"""So long one process may be ahead of another: of a collective call, and of what they tell each other."""

# Who failed cannot tell whether the others did, or wait for it in a collective call.
PATIENCE_OF_ONE_THAT_FAILED = timedelta(seconds=10)

R = TypeVar("R", bound=Raw)


class Processes:
    """All that torch.distributed has joined; of one process what it does is done for all.

    Attributes:
        size: How many there are.
        exchange: Tells the others something and returns what each told; None in a run of one.
    """

    def __init__(self) -> None:
        self._world = World(patience=TIME_LIMIT)
        self.size = self._world.size
        self.exchange: Exchange | None = self._world.exchange if self.size > 1 else None

    def tell(self, facts: Any) -> list[Any]:
        """Tell the others something and return what each told, by rank.

        Raises:
            ResourceError: One does not answer.
        """
        told = self._world.exchange(facts)
        if told is None:
            raise ResourceError(
                f"{self._silent} did not answer within {TIME_LIMIT.seconds} s.", why=_WHY_TOGETHER, fix=_GO_ON
            )
        return told

    def first(self, record: R) -> R:
        """Return what the first has, for all to go on with."""
        if self.size == 1:
            return record
        return type(record).model_validate(json.loads(self.tell(record.model_dump_json())[0]))

    def outcome(self, record: PassRecord) -> PassRecord:
        """Return what a pass came to in the first, after it came to the same in all.

        Raises:
            ResourceError: It failed in some alone, or one does not answer.
        """
        if self.size == 1:
            return record
        failed = record.error is not None
        told = self._world.exchange(record.model_dump_json(), PATIENCE_OF_ONE_THAT_FAILED if failed else TIME_LIMIT)
        if told is None:
            what = f"{self._silent} did not come to the end of {record.id}"
            if failed:
                what = f"{_failure(self._world.rank, record)}; {what[0].lower()}{what[1:]}"
            raise ResourceError(f"{what}.", why=_WHY_TOGETHER, fix=_GO_ON)
        outcomes = [PassRecord.model_validate(json.loads(each)) for each in told]
        if len({each.error.kind if each.error else None for each in outcomes}) > 1:
            failures = [_failure(rank, each) for rank, each in enumerate(outcomes) if each.error is not None]
            raise ResourceError(f"{'; '.join(failures)}.", why=_WHY_TOGETHER, fix=_GO_ON)
        return outcomes[0]

    @property
    def _silent(self) -> str:
        ranks = ", ".join(map(str, self._world.silent)) or "of another process"
        return f"Rank {ranks}"


_WHY_TOGETHER = "The processes of a training do each step together: without one of them nothing can be measured."
_GO_ON = (
    "look at what that rank says; what was measured before is kept: the same command with --out and --resume goes on"
)


def _failure(rank: int, record: PassRecord) -> str:
    error = record.error
    return f"Rank {rank} failed in {record.id}: {error.kind if error else ''}: {error.message if error else ''}"
