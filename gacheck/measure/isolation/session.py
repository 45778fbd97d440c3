"""A session in a process of its own: whatever the model does to that, the run goes on and says so. No torch here."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from gacheck.config import ExperimentConfig
from gacheck.errors import ModelError, ResourceError
from gacheck.measure.isolation.child import STEP, Child, Lost, TookTooLong
from gacheck.measure.isolation.processes import (
    ENDED,
    SHOW_WHERE,
    available_bytes,
    end_with_the_program,
    leave_interrupts_to_the_program,
    limit_memory,
)
from gacheck.record.parts import Noise, OracleRecord, PassError, PassRecord
from gacheck.record.plan import PassSpec
from gacheck.record.run import Fingerprints, RunRecord
from gacheck.rules.facts import Flag
from gacheck.words.reasons import OF_TIME, is_of_memory

GIB = 1 << 30


class IsolatedSession:
    """A `Session` in a child, which is replaced where it dies.

    Args:
        config: The experiment.
        memory_gib: That the child may take beyond what the libraries take; by default what is free.
        seconds: For a pass; a child that takes longer is ended. None: as long as it takes.

    Attributes:
        model: Facts for the record.
        data: Facts for the record.
        hardware: Facts for the record.
        learning_rate: As used.
    """

    def __init__(
        self, config: ExperimentConfig, *, memory_gib: float | None = None, seconds: float | None = None
    ) -> None:
        self._config = config
        self._seconds = seconds
        self._memory = available_bytes() if memory_gib is None else int(memory_gib * GIB)
        self._child: Child | None = None
        try:
            opened = self._ask("open", seconds=None)
        except Lost as lost:
            self.close()
            raise _not_opened(config, str(lost)) from None
        except BaseException:
            self.close()
            raise
        self.model, self.data, self.hardware = opened.model, opened.data, opened.hardware
        self.learning_rate = opened.learning_rate
        self._opened = opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def fingerprints(self) -> Fingerprints:
        """Return the fingerprints of weights and code, as they were before the first pass."""
        found: Fingerprints = self._opened.fingerprints
        return found

    def ask_oracle(self) -> OracleRecord:
        """Compute the right answer; where the child or its memory ends over it, the passes have to find out."""
        try:
            answer: OracleRecord = self._ask("oracle", seconds=self._seconds)
        except (Lost, ResourceError):
            return OracleRecord(shifts=True, noise=Noise(resolution=self._opened.resolution))
        return answer

    def auto_loss_kwargs(self) -> Flag:
        """Return the value of the flag that the Trainer chooses itself."""
        flag: Flag = self._opened.auto
        return flag

    def run_pass(self, spec: PassSpec, oracle: OracleRecord, step_done: Callable[[], None]) -> PassRecord:
        """Train once; that the child dies is what the pass came to."""
        started = time.perf_counter()
        try:
            record: PassRecord = self._ask("pass", spec, oracle, seconds=self._seconds, step_done=step_done)
        except Lost as lost:
            kind = OF_TIME if isinstance(lost, TookTooLong) else ENDED
            return PassRecord(
                id=spec.id,
                accumulation_steps=spec.accumulation_steps,
                loss_kwargs=spec.loss_kwargs,
                status="failed",
                tail=spec.tail,
                error=PassError(kind=kind, message=str(lost), rejects_num_items_in_batch=False),
                auto_loss_kwargs=self._opened.auto,
                seconds=time.perf_counter() - started,
            )
        return record

    def agree(self, record: RunRecord) -> RunRecord:
        """Return the record: there is one process."""
        return record

    def _ask(
        self, what: str, *given: object, seconds: float | None, step_done: Callable[[], None] = lambda: None
    ) -> Any:
        """Let the child do something.

        Raises:
            Lost: It ended, or took too long.
            GacheckError: As it raised it.
        """
        if self._child is None:
            self._child = Child(serve, self._memory)
        try:
            answer = self._child.ask((what, self._config, *given), step_done, seconds)
        except Lost:
            self.close()
            raise
        if isinstance(answer, Failure):
            raise answer.error()
        return answer


class Failure:
    """An error for people on its way home; its class takes more than an exception's own arguments."""

    def __init__(self, error: Any) -> None:
        self._class, self._what = type(error), error.what
        self._rest = {"why": error.why, "fix": error.fix}

    def error(self) -> Exception:
        """Return it."""
        made: Exception = self._class(self._what, **self._rest)
        return made


def serve(connection: Connection, memory: int | None) -> None:
    """Answer what comes through a connection; called in the child."""
    leave_interrupts_to_the_program()
    end_with_the_program()
    # Imported here: what hands out the work need not have torch.
    from gacheck.measure.isolation.worker import answers

    if memory is not None:
        limit_memory(memory)
    with suppress(EOFError, OSError):  # nobody asks any more
        while True:
            what, *given = connection.recv()
            connection.send(answers[what](lambda: connection.send(STEP), *given))


def _not_opened(config: ExperimentConfig, how: str) -> ModelError | ResourceError:
    what = f"The model {config.model} cannot be loaded: {how}."
    if is_of_memory(how):
        return ResourceError(what, why="Nothing is measured without it.", fix="give it more with  --memory-limit")
    return ModelError(what, why="Nothing is measured without it.", fix=SHOW_WHERE)
