"""kill -9 at any moment of a run, a survey and a save: at most the running pass is lost, and nothing is refused."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gacheck.cli import main
from gacheck.commands.folders import only_writer
from gacheck.errors import GacheckError
from gacheck.record.checksum import Integrity
from gacheck.record.journal import RECORD_NAME, load_record, load_run, load_survey, save_record
from gacheck.record.parts import Record
from gacheck.record.run import RunRecord
from tests.builders import pass_record, run_record
from tests.torture.outcome import Outcome

SMALL = ("-k", "1,2,4", "--effective-batch-size", "4", "--max-steps", "2", "--max-length", "16", "--exit-zero")
RUN = ("run", "tiny:llama", *SMALL, "--out", "run")
SURVEY = ("survey", "llama", "gpt2", "xlnet", "--jobs", "1", "--out", "survey")
LONGEST_SECONDS = 300.0


def _forkserver() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gacheck.measure.session", "tests.torture.kills"])
    return context


def _program(arguments: tuple[str, ...], said: str) -> None:
    """Be the program; what it says goes to a file."""
    # By number: what libraries of C print is caught too.
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.argv = ["gacheck", *arguments]
    main(list(arguments))


def _saver(folder: str) -> None:
    """Save one record after the other, until somebody ends it."""
    passes = [pass_record(k, "on", "token_mean") for k in (1, 2, 4, 8)]
    while True:
        for number in range(1, 5):
            record = run_record(passes, config={"gradient_accumulation_steps": [1, 2, 4, 8]})
            save_record(record.model_copy(update={"passes": tuple(passes[:number])}), Path(folder))


def _until_killed(
    arguments: tuple[str, ...], said: Path, seconds: float, folder: Path
) -> tuple[int | None, multiprocessing.context.ForkServerProcess]:
    """Run the program for so long; return its exit code, None where it was killed."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        process = _forkserver().Process(target=_program, args=(arguments, str(said)))
        process.start()
    finally:
        os.chdir(before)
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return None, process
    return process.exitcode, process


def _kill_and_resume(
    outcome: Outcome,
    kills: int,
    folder: Path,
    arguments: tuple[str, ...],
    longest: float,
    load: Callable[[Path], Record],
    whole: Record,
) -> None:
    """Begin, kill, and go on, over and over; begin anew where it comes to its end."""
    generator = random.Random(len(whole.recorded))
    name, said = arguments[-1], folder / "said.txt"
    known: dict[str, object] = {}
    killed, resumed = 0, False
    while killed < kills:
        options = ("--resume",) if resumed else ("--force",)
        code, _ = _until_killed((*arguments, *options), said, generator.uniform(0.05, longest), folder)
        text = said.read_text(encoding="utf-8", errors="replace") if said.exists() else ""
        problems = []
        if code not in (None, 0):
            problems.append(f"going on ended with {code}: {text[-500:]}")
        if "Traceback" in text:
            problems.append(text[-500:])
        if (folder / name / RECORD_NAME).exists():
            resumed = True
            problems += _lost(load, folder / name, known, text, whole)
        if code is None:
            killed += 1
            outcome.note(f"kill {killed} of {arguments[0]}", *problems)
        elif problems:
            outcome.note(f"{arguments[0]} after kill {killed}", *problems)
        if code is not None:  # it came to its end, or will not go on
            known, resumed = {}, False
    code, _ = _until_killed((*arguments, "--resume" if resumed else "--force"), said, LONGEST_SECONDS, folder)
    with outcome.one(f"{arguments[0]}, to its end after {killed} kills") as problems:
        if code != 0:
            problems.append(f"exit code {code}: {said.read_text(encoding='utf-8', errors='replace')[-500:]}")
        problems += _lost(load, folder / name, known, "", whole)
        if not load(folder / name).complete:
            problems.append("it is not complete")


def _lost(
    load: Callable[[Path], Record], folder: Path, known: dict[str, object], text: str, whole: Record
) -> list[str]:
    """Say what is missing of what was there before, or is another than in an undisturbed measurement."""
    try:
        record = load(folder)
    except GacheckError as error:
        return [str(error)]
    parts = _parts(record)
    problems = [] if record.integrity is Integrity.WHOLE else [f"it is {record.integrity.value}"]
    problems += [f"{each} was there and is lost" for each in known if each not in parts]
    right = _parts(whole)
    problems += [f"{each} is not as it was measured undisturbed" for each in parts if parts[each] != right.get(each)]
    told = sum(line.startswith("pass ") for line in text.splitlines())
    if len(parts) - len(known) < told - 1:
        problems.append(f"{told} passes were done and {len(parts) - len(known)} are saved")
    known.update(parts)
    return problems


def _parts(record: Record) -> dict[str, object]:
    """Return what a record holds, without what differs from time to time."""
    if isinstance(record, RunRecord):
        return {each.id: (each.status, each.steps, each.heldout_loss_nats) for each in record.all_passes}
    rows = getattr(record, "rows", ())
    return {row.item.id: (row.reason, row.training and [p.steps for p in row.training.passes]) for row in rows}


def of_a_run(kills: int, folder: Path) -> Outcome:
    """Kill a run, go on with it, and compare with one that nobody disturbed."""
    # So that some are killed while they load, some within a pass, and some come to their end.
    return _killed_again_and_again(kills, folder, RUN, load_run, share=1.2, most=8.0)


def of_a_survey(kills: int, folder: Path) -> Outcome:
    """Kill a survey, go on with it, and compare with one that nobody disturbed."""
    return _killed_again_and_again(kills, folder, SURVEY, load_survey, share=1.0, most=25.0)


def _killed_again_and_again(
    kills: int,
    folder: Path,
    command: tuple[str, ...],
    load: Callable[[Path], Record],
    *,
    share: float,
    most: float,
) -> Outcome:
    """Do a command undisturbed, then kill it within a share of the time that it took, and at most so many seconds."""
    outcome = Outcome()
    started = time.monotonic()
    _until_killed((*command, "--force"), folder / "first.txt", LONGEST_SECONDS, folder)
    whole = load(folder / command[-1])
    longest = share * (time.monotonic() - started)
    _kill_and_resume(outcome, kills, folder, command, min(longest, most), load, whole)
    return outcome


def of_a_save(kills: int, folder: Path) -> Outcome:
    """Kill what saves without end: the record is whole, and what is left over goes with the next."""
    outcome = Outcome()
    generator = random.Random(0)
    for number in range(kills):
        process = _forkserver().Process(target=_saver, args=(str(folder),))
        process.start()
        until = time.monotonic() + 60
        while not (folder / RECORD_NAME).exists() and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.05))
        process.kill()
        process.join()
        with outcome.one(f"kill {number + 1} of a save") as problems:
            if load_record(folder).integrity is not Integrity.WHOLE:
                problems.append("the record is not whole")
            with only_writer(folder):
                left = sorted(path.name for path in folder.iterdir() if path.name.startswith(".gacheck-"))
            if left:
                problems.append(f"left over: {left}")
    return outcome
