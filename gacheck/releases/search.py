"""Tries releases, several beside each other, until no more can be learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from gacheck.core.history import History, Tried, history_of, wanted


def search(releases: Sequence[str], probe: Callable[[str], Tried], num_jobs: int) -> History:
    """Try releases until every change of the verdict lies between two neighbours.

    Args:
        releases: All, oldest first.
        probe: Tries one; runs in a thread.
        num_jobs: How many are tried beside each other.
    """
    tried: dict[str, Tried] = {}
    running: dict[Future[Tried], str] = {}
    pool = ThreadPoolExecutor(num_jobs)
    try:
        while True:
            for release in wanted(releases, tried):
                if len(running) < num_jobs and release not in running.values():
                    running[pool.submit(probe, release)] = release
            if not running:
                return history_of(releases, tried)
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                tried[running.pop(done)] = done.result()
    finally:
        pool.shutdown(cancel_futures=True)
