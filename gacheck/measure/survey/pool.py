"""Every item in a process of its own, with a limit of time and of memory: what hangs or dies costs its row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as TimedOut
from dataclasses import dataclass

from pebble import ProcessExpired, ProcessPool

from gacheck.errors import one_line
from gacheck.measure.isolation.processes import forkserver_of, how_it_ended, leave_interrupts_to_the_program
from gacheck.record.redacting import redacted
from gacheck.record.survey import SurveyItem, SurveyRow

WORKER = "gacheck.measure.survey.judging"


@dataclass(frozen=True)
class Limits:
    """What an item may take.

    Attributes:
        seconds: Of time.
        memory: Bytes beyond what the libraries take.
        jobs: Items that are judged beside each other.
    """

    seconds: float
    memory: int
    jobs: int


def judge_in_worker(item: SurveyItem) -> SurveyRow:
    """Train the stand-in of an item."""
    # Imported here: what hands out the work need not have torch.
    from gacheck.measure.survey.judging import judge

    return judge(item)


def judge_all(
    items: Sequence[SurveyItem],
    limits: Limits,
    started: Callable[[SurveyItem], None] = lambda item: None,
    judge: Callable[[SurveyItem], SurveyRow] = judge_in_worker,
) -> Iterator[SurveyRow]:
    """Yield a row for every item, as they are done.

    The workers are forked from a server that has loaded torch and transformers once: none of them pays for that, and
    none sees what another did to its process.

    Args:
        items: What to judge.
        limits: Of each.
        started: Told of each item that is handed to a worker.
        judge: What a worker does.
    """
    waiting = list(reversed(items))
    running: dict[Future[SurveyRow], SurveyItem] = {}
    pool = ProcessPool(
        max_workers=limits.jobs,
        max_tasks=1,
        initializer=_prepare,
        initargs=[limits.memory],
        context=forkserver_of(WORKER),
    )
    try:
        while waiting or running:
            # No more than there are workers: what is handed over and has not begun could not be told from what runs.
            while waiting and len(running) < limits.jobs:
                item = waiting.pop()
                started(item)
                running[pool.schedule(judge, args=[item], timeout=limits.seconds)] = item
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield redacted(_row(running.pop(future), future, limits))
    finally:
        pool.stop()  # type: ignore[no-untyped-call]  # pebble has types but here
        pool.join()


def _prepare(memory: int) -> None:
    leave_interrupts_to_the_program()
    from gacheck.measure.survey.judging import prepare

    prepare(memory)


def _row(item: SurveyItem, future: Future[SurveyRow], limits: Limits) -> SurveyRow:
    try:
        return future.result()
    except TimedOut:
        return SurveyRow(item=item, seconds=limits.seconds, reason=f"It was not done within {limits.seconds:g} s.")
    except ProcessExpired as error:
        how = how_it_ended(error.exitcode)
        return SurveyRow(item=item, seconds=0.0, reason=f"{how[0].upper()}{how[1:]}.")
    except Exception as error:  # what a worker could not hand over
        return SurveyRow(item=item, seconds=0.0, reason=f"{type(error).__name__}: {one_line(error)}.")
