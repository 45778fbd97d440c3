"""Surveys every class under three releases of transformers, and writes docs/affected-models.md.

    make affected                                      the whole survey, gone on with where it was interrupted
    python docs/make_affected.py llama 'Qwen*'         a look at some, on stdout; nothing is written
    python docs/make_affected.py --from RECORD         the page of a survey that was made before, without measuring

The record, and the same as one HTML page, are left in the user's cache: the page is too large to be kept here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from gacheck.record.journal import RECORD_NAME, load_survey
from gacheck.reporters.html import render_survey_html
from gacheck.reporters.survey_markdown import survey_blocks
from gacheck.rules.table import SEVERITY
from gacheck.words.survey import SurveyAnalysis, read_survey
from gacheck.words.surveyed import listed, releases_of

PAGE = Path(__file__).parent / "affected-models.md"
MADE_BY = "<!-- Made by docs/make_affected.py: run  make affected  instead of editing. -->"
WIDTH = 120
RELEASES = "newest,4.57.6,4.50.3"
HEAD = """
Does the loss of a class of transformers depend on `gradient_accumulation_steps`? Measured by `gacheck survey` under
transformers {releases}, torch {torch}, on the CPU: {judged} of {pairs} pairs of class and release have a verdict.
Search this page for the name of your class; what is under no verdict is at the end: checked and right, or not judged
and why.

Each class was built tiny, with random weights, and trained for two optimizer steps at k = 4 by the plain Trainer; the
loss that was logged and the gradient of every parameter are held against the right step, computed from each
micro-batch by itself. The faults are in code, not in weights: a class does at its real size what it does here. [How
it works](how-it-works.md) says more, and [the confirmation](confirmation.md) what a bare Trainer without gacheck says
to the same.

By default: with `model_accepts_loss_kwargs` as the Trainer chooses it. Since, in: these speak of the releases that
were measured, and of none between them. Tried: the class was trained with that line too. The rows are short and of
unequal length, which shows `MEAN_OF_MEANS` and `UNSHIFTED_TOKEN_COUNT` larger than long rows would.

Not measured: several processes, mixed precision, quantised weights, adapters, classes outside transformers, losses
that a config switches on (a router's, say), subclasses of the Trainer. For these there are `gacheck run`, and
`gacheck attach` for the training that you have.

A map of all classes, as one HTML page, makes `gacheck report FOLDER --format html -o affected.html` of the folder
that `gacheck survey --out FOLDER` leaves.
""".strip()


def cache() -> Path:
    """Return the folder of the survey, outside the checkout: another day's goes on from it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gacheck" / "affected"


def page(analysis: SurveyAnalysis) -> str:
    """Render docs/affected-models.md."""
    blocks = (_linked(block) for block in survey_blocks(analysis, "##"))
    return "\n\n".join([MADE_BY, "# Which models are affected?", *_head(analysis), *blocks]) + "\n"


def _linked(block: str) -> str:
    """Add to the heading of a verdict where more is said of it."""
    code = block.removeprefix("## ")
    return f"{block}\n\n[What this is](faults.md#{code.lower()})." if block != code and code in SEVERITY else block


def _head(analysis: SurveyAnalysis) -> list[str]:
    """Say what the page says, how to read it, and what was not measured."""
    text = HEAD.format(
        releases=listed(releases_of(analysis)),
        torch=analysis.record.environment.packages.get("torch"),
        judged=f"{sum(row.analysis is not None for row in analysis.rows):,}",
        pairs=f"{len(analysis.rows):,}",
    )
    return [textwrap.fill(each, WIDTH, break_long_words=False, break_on_hyphens=False) for each in text.split("\n\n")]


def measure(names: list[str], folder: Path) -> None:
    """Survey, or go on with it; what takes long is said on stderr."""
    options = ["--all", "--transformers", RELEASES, "--out", str(folder), "--resume"]
    subprocess.run([sys.executable, "-m", "gacheck", "survey", *names, *options], stdout=sys.stderr, check=True)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Survey every class, and write docs/affected-models.md.")
    parser.add_argument("names", nargs="*", help="of these types and classes alone, on stdout")
    parser.add_argument("--from", dest="record", type=Path, help="a survey's folder, or its record")
    parser.add_argument("--out", type=Path, help="folder of the survey (default: in the user's cache)")
    options = parser.parse_args()
    folder = options.out or (cache().with_name("affected-some") if options.names else cache())
    if options.record is None:
        measure(options.names, folder)
    path = options.record or folder
    analysis = read_survey(load_survey(path / RECORD_NAME if path.is_dir() else path))
    if options.names:
        print(page(analysis))
        return
    PAGE.write_text(page(analysis), encoding="utf-8")
    print(PAGE)
    html = (path if path.is_dir() else path.parent) / "affected.html"
    html.write_bytes(render_survey_html(analysis))
    print(f"{html}, {html.stat().st_size / 1000:,.0f} kB")


if __name__ == "__main__":
    main()
