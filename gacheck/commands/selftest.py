"""`gacheck selftest`: does gacheck itself still catch every fault that it knows?"""

from __future__ import annotations

import typer

from gacheck.commands.measuring import check_packages, loading
from gacheck.commands.output import require_stdout, write_out
from gacheck.rules.table import severity_of


def selftest(
    verbose: bool = typer.Option(
        False, "--verbose", "-v", help="Print a line for every mutant, not for the missed alone."
    ),
) -> None:
    """Plant one fault at a time in a right model and Trainer, and check that the verdict names it.

    Exit code 1 if a fault is missed or a right model is accused.
    """
    require_stdout()
    check_packages()
    with loading():
        from gacheck.measure.selftest.outcomes import outcomes
        from gacheck.measure.session import quiet_libraries

    quiet_libraries()
    num_caught, num_measured = 0, 0
    right: set[str] = set()
    faults: set[str] = set()
    for outcome in outcomes():
        verdict, mutant = outcome.analysis.verdict, outcome.mutant
        num_measured += 1
        num_caught += outcome.caught
        (right if severity_of(mutant.code) == "ok" else faults).add(mutant.name)
        if verbose or not outcome.caught:
            mark = "caught" if outcome.caught else "MISSED"
            write_out(f"{mark} {outcome.precision:<7} {mutant.name:<35} {verdict.code} ({verdict.affects})\n")
            if not outcome.caught:
                write_out(f"        expected {mutant.code} ({mutant.affects or 'any'})\n")
    planted = f"{len(right)} right models and {len(faults)} faults, in float32 and bf16"
    write_out(f"{num_caught} of {num_measured} as expected: {planted}\n")
    raise typer.Exit(int(num_caught < num_measured))
