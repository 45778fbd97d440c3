"""Starts the same command line once for every process, as torchrun does, and tells what came of it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from gacheck.errors import GacheckError, ResourceError


def launch(arguments: Sequence[str], num_processes: int) -> int:
    """Run gacheck in several processes of this machine and return the exit code: that of the first that ended badly.

    Args:
        arguments: Of gacheck's, as they were typed.
        num_processes: How many.

    Raises:
        ResourceError: One of them was killed.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # As torchrun: each with all cores would be slower than one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "gacheck", *arguments)
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode >= 0:
            return exit_code_of(rank, failure.exitcode)
        raise ResourceError(
            f"Rank {rank} was killed by {signal.Signals(-failure.exitcode).name}.",
            why="The processes of a training do each step together, so that the others were ended too.",
            fix="see whether the memory suffices; what was measured before is kept: add --out and --resume to go on",
        ) from None
    except SignalException as ended:
        return 128 + int(ended.sigval)
    return 0


def exit_code_of(rank: int, code: int) -> int:
    """Return what a process's exit code says of the run: 1 is a verdict's alone, and the first alone has a verdict."""
    return code if rank == 0 or code != 1 else GacheckError.exit_code
