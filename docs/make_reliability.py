"""Makes docs/reliability.md: attacks gacheck at length, and writes down what survived.

    python docs/make_reliability.py [--jobs 2] [--only kills]

Of attacks that are not done this time the page keeps what it says. It ends with code 1 where anything did not survive,
and says what.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from gacheck.record.environment import read_environment  # noqa: E402
from tests.torture.attacks import ATTACKS, Named, carry_out  # noqa: E402
from tests.torture.outcome import Outcome  # noqa: E402

PAGE = ROOT / "docs" / "reliability.md"
BEGIN = """<!-- Made by docs/make_reliability.py: run  make torture  instead of editing. -->

# Reliability

What was done to gacheck to make it lose a measurement, accept one that was edited, show a traceback, let a stranger's
text out of its place, use the network, or leave something behind. `make torture` does all of it again, and `make test`
a short form.

- A kill survives where at most the pass that was running is lost, `--resume` is not refused, and the results are those
  of an undisturbed run, to the last digit.
- Damage survives where the record is refused in words or shown as edited; as unedited: never.
- An input survives where the command ends in words with an exit code from 0 to 4, without a traceback and without a
  fault of gacheck's own. The sessions behind the fuzzed command lines have no model, so that what is right after all
  takes no time.
- A hostile string survives where it does not end up as a tag, a control character, a line or a formula of its own, and
  the JSON fits its schema.
"""
END = """
Beside these, in the ordinary tests:

| what | the test |
|---|---|
| a model that aborts, exits, is killed or eats memory (`--isolate`) | tests/measure/test_isolation.py |
| SIGTERM, SIGHUP, Ctrl-C; temporary folders after `kill -9` | tests/test_signals.py |
| other weights, code, versions or data at `--resume` | tests/measure/test_resuming.py |
| records that contradict themselves | tests/record/test_invariants.py |
| tokens, keys, passwords and the home folder in records | tests/commands/test_secrets.py, tests/test_redaction.py |
| pickles that an index of weights names | tests/measure/models/test_source.py |
| YAML that hangs or crashes, names too long, pipes as records | tests/commands/test_mistakes.py |
"""


def main() -> int:
    """Do all attacks, several beside each other; write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--only", default="", help="those whose name holds this; of the others the page keeps what it says"
    )
    asked = parser.parse_args()
    chosen = sorted((each for each in ATTACKS if asked.only in each.name), key=lambda each: -each.seconds)
    started = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    # Every attack in a process of its own: none sees what another did to it.
    with ProcessPoolExecutor(asked.jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        running = {pool.submit(carry_out, each, each.most): each for each in chosen}
        for future in as_completed(running):
            attack, outcome = running[future], future.result()
            outcomes[attack.name] = outcome
            print(
                f"{attack.name}: {outcome.survived} of {outcome.tried}, {time.monotonic() - started:.0f} s", flush=True
            )
            if outcome.how:
                print(f"    {outcome.how}", flush=True)
            for failure in outcome.failures[:10]:
                print(f"    {failure}", flush=True)
    PAGE.write_text(_page(outcomes), encoding="utf-8")
    return int(any(outcome.failures for outcome in outcomes.values()))


def _page(outcomes: dict[str, Outcome]) -> str:
    here = read_environment()
    made = f"Last done on {date.today():%d %B %Y}: gacheck {here.gacheck}, Python {here.python}, "
    made += f"transformers {here.packages['transformers']}, torch {here.packages['torch']}."
    before = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    rows, notes = [], []
    for each in ATTACKS:
        outcome = outcomes.get(each.name)
        if outcome is None:
            rows += [line for line in before if line.startswith(f"| {each.title} |")]
            notes += [line for line in before if line.startswith(f"- {each.title}: ")]
        else:
            rows.append(_row(each, outcome))
            notes += [f"- {each.title}: {outcome.how}."] if outcome.how else []
    table = "\n".join(["| attack | tried | survived | the test that shows it |", "|---|---|---|---|", *rows])
    return f"{BEGIN}\n{made}\n\n{table}\n\nHow, where that is not plain:\n\n" + "\n".join(notes) + f"\n{END}"


def _row(attack: Named, outcome: Outcome) -> str:
    module, _, name = attack.function.partition(".")
    return f"| {attack.title} | {outcome.tried:,} | {outcome.survived:,} | tests/torture/{module}.py, `{name}` |"


if __name__ == "__main__":
    sys.exit(main())
