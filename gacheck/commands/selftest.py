"""`gacheck selftest`: does gacheck itself still catch every fault that it knows?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from gacheck.commands.measuring import check_packages, loading
from gacheck.commands.output import require_stdout, write_out
from gacheck.commands.progress import LiveProgress
from gacheck.rules.table import severity_of

if TYPE_CHECKING:
    from gacheck.measure.selftest.outcomes import Outcome


def selftest(
    verbose: bool = typer.Option(
        False, "--verbose", "-v", help="Print a line for every mutant, not for the missed alone."
    ),
) -> None:
    """Plant one fault at a time in a right model and Trainer, and check that the verdict names it.

    Example: gacheck selftest -v

    Exit code 1 if a fault is missed or a right model is accused.
    """
    require_stdout()
    check_packages()
    with LiveProgress("checks", quiet=verbose) as progress:
        found = [_told(outcome, progress, verbose=verbose) for outcome in _measured(progress)]
    names = {outcome.mutant.name: severity_of(outcome.mutant.code) for outcome in found}
    num_caught = sum(outcome.caught for outcome in found)
    num_right = sum(severity == "ok" for severity in names.values())
    planted = f"{num_right} right models and {len(names) - num_right} faults, in float32 and bf16"
    write_out(f"{num_caught} of {len(found)} as expected: {planted}\n")
    raise typer.Exit(int(num_caught < len(found)))


def _measured(progress: LiveProgress) -> Iterator[Outcome]:
    progress.stage("loading torch and transformers")
    with loading():
        from gacheck.measure.selftest.outcomes import NUM_OUTCOMES, outcomes
        from gacheck.measure.session import quiet_libraries

    quiet_libraries()
    progress.total(NUM_OUTCOMES)
    for number, outcome in enumerate(outcomes(), 1):
        yield outcome
        progress.line(f"{number} of {NUM_OUTCOMES}  {_name(outcome)}")


def _name(outcome: Outcome) -> str:
    return f"{outcome.precision:<7} {outcome.mutant.name}"


def _told(outcome: Outcome, progress: LiveProgress, *, verbose: bool) -> Outcome:
    progress.stage(_name(outcome))
    progress.advance()
    verdict, mutant = outcome.analysis.verdict, outcome.mutant
    if verbose or not outcome.caught:
        mark = "caught" if outcome.caught else "MISSED"
        write_out(f"{mark} {outcome.precision:<7} {mutant.name:<35} {verdict.code} ({verdict.affects})\n")
        if not outcome.caught:
            write_out(f"        expected {mutant.code} ({mutant.affects or 'any'})\n")
    return outcome
