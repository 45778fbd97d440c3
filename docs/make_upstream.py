"""Makes patches for classes of transformers that drop the count, and tries each on a copy of the library.

    make upstream

Every class that `docs/upstream_edits.py` or a patch in docs/upstream/by_hand/ would change is measured with the
installed library and with a copy that has all the changes. A class whose verdict turns from a fault to OK at every k,
with the loss at k = 1 as it was, gets its part of a patch in docs/upstream/patches/; the others are named in
docs/upstream/README.md with what was seen. What is measured already is kept in gacheck-runs/upstream/: interrupted, it
goes on where it was. With names it measures these classes alone and prints what came out.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from upstream_measuring import ACCUMULATION_STEPS, AFTER, BEFORE, Row, measure, measure_both, measured
from upstream_plan import BESIDES, FOLDER, Plan, library

PATCHES, PAGE = FOLDER / "patches", FOLDER / "README.md"
UNCHANGED = 1e-6
"""By how much the loss at k = 1 may differ, relatively."""
FINE = ("OK", "OTHER_OBJECTIVE")
ISSUES = {
    "UNSHIFTED_TOKEN_COUNT": "loss-type",
    "MEAN_OF_MEANS": "accepts-loss-kwargs",
    "LABELS_NOT_SHIFTED": "label-smoothing",
    "AUX_LOSS_SCALED": "router-loss",
}
"""The issue that a class belongs to by what was wrong with it; the rest is told apart by what it is for."""
CAUSAL = ("ForCausalLM", "LMHeadModel", "XLMWithLMHeadModel", "FlaubertWithLMHeadModel")
LIST = "<!-- classes -->"


@dataclass(frozen=True)
class Outcome:
    """A class before and after."""

    name: str
    patch: str
    before: Row
    after: Row

    @property
    def was_fine(self) -> bool:
        """Whether there was nothing to change."""
        return self.before.code in FINE

    @property
    def same_loss(self) -> bool:
        """Whether the loss at k = 1 is what it was, or what it should have been where it was wrong there too."""
        wrong = {"UNSHIFTED_TOKEN_COUNT": self.before.right, "LABELS_NOT_SHIFTED": self.after.right}
        one, two = wrong.get(self.before.code or "", self.before.loss), self.after.loss
        return one is not None and two is not None and abs(one - two) <= UNCHANGED * max(1.0, abs(one))

    @property
    def fixed(self) -> bool:
        """Whether the change is right."""
        return self.before.code is not None and not self.was_fine and self.after.code in FINE and self.same_loss

    @property
    def issue(self) -> str:
        """The issue that it belongs to."""
        rest = "own-cross-entropy" if self.name.endswith(CAUSAL) else "other-heads"
        return ISSUES.get(self.before.code or "", rest)


def outcomes(plan: Plan) -> list[Outcome]:
    """Return what was measured of every class under both libraries, in the order of their names."""
    before, after = measured(BEFORE), measured(AFTER)
    patch = {name: file.name for file in plan.files for name in file.class_names}
    patch |= {name: patch[changed] for name, changed in plan.decided.items()}
    names = sorted(name for name in plan.names if name in before and name in after)
    return [Outcome(name, patch[name], before[name], after[name]) for name in names]


def publish(plan: Plan) -> None:
    """Write the patches of what is fixed, and the page."""
    found = outcomes(plan)
    fixed = {each.name for each in found if each.fixed}
    kept = fixed | {changed for name, changed in plan.decided.items() if name in fixed}
    shutil.rmtree(PATCHES, ignore_errors=True)
    PATCHES.mkdir(parents=True)
    texts: dict[str, str] = {}
    for file in plan.files:
        if file.class_names & kept:
            texts[file.name] = texts.get(file.name, "") + file.diff(kept)
    for name, text in texts.items():
        (PATCHES / f"{name}.patch").write_text(text, encoding="utf-8")
    PAGE.write_text(page(found, plan), encoding="utf-8")
    for issue in sorted(FOLDER.glob("*.md")):
        begun, separator, _ = issue.read_text(encoding="utf-8").partition(LIST)
        if separator:
            lines = [
                f"- `{each.name}` ({plan.place(each.name)})"
                for each in found
                if each.fixed and each.issue == issue.stem and each.name not in BESIDES
            ]
            issue.write_text("\n".join([begun + separator, "", *lines, ""]), encoding="utf-8")


def page(found: Sequence[Outcome], plan: Plan) -> str:
    """Write what was tried and what came out."""
    fixed = [each for each in found if each.fixed]
    not_fixed = [each for each in found if not each.fixed and not each.was_fine]
    right = len(found) - len(fixed) - len(not_fixed)
    begun = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    head = begun.partition("<!-- measured -->")[0].rstrip()
    rows = "\n".join(
        f"| `{each.name}` | {code(each.before)} | {code(each.after)} | {loss(each.before)} | {loss(each.after)} "
        f"| [{each.patch}](patches/{each.patch}.patch) |"
        for each in fixed
    )
    rest = "\n".join(
        f"| `{each.name}` | {code(each.before)} | {code(each.after)} | {why(each)} |" for each in not_fixed
    )
    waiting = sorted({*plan.names} - {each.name for each in found})
    unmeasured = f" Not measured: {', '.join(f'`{name}`' for name in waiting)}." if waiting else ""
    return f"""{head}

<!-- measured -->
<!-- From here on made by docs/make_upstream.py: run  make upstream  instead of editing. -->

## What was measured

transformers {version("transformers")}, tiny stand-ins with random weights, 16 rows an optimizer step at
k = {", ".join(map(str, ACCUMULATION_STEPS))}, the flag as the Trainer chooses it, two steps
each (before the patch at the first and the last k alone). The loss at k = 1 is unchanged to {UNCHANGED:g}, but for
UNSHIFTED_TOKEN_COUNT and LABELS_NOT_SHIFTED, which are wrong at k = 1 too: there it becomes the right one.
OTHER_OBJECTIVE is fine: a loss that is more than the mean over tokens. The number after a verdict is the
reported loss at k = {ACCUMULATION_STEPS[-1]} over the right one.

{len(found)} of {len(plan.names)} classes that a change was found for were measured: {len(fixed)} are fixed by a patch,
{len(not_fixed)} are not and have none, {right} were right already.{unmeasured}

| class | before | after | loss at k = 1 before | after | patch |
| --- | --- | --- | ---: | ---: | --- |
{rows}

## What no patch here fixes

| class | before | with the change that was tried | |
| --- | --- | --- | --- |
{rest}
"""


def code(row: Row) -> str:
    """Render a verdict."""
    if row.code is None:
        return "–"
    return f"{row.code} {row.ratio:.3f}" if row.ratio is not None else row.code


def loss(row: Row) -> str:
    """Render a loss."""
    return f"{row.loss:.6f}" if row.loss is not None else "–"


def why(each: Outcome) -> str:
    """Say why a class has no patch."""
    for row in (each.before, each.after):
        if row.reason:
            return row.reason.replace("|", "/")
    if each.after.code in FINE and not each.same_loss:
        return f"the loss at k = 1 was {loss(each.before)} and would be {loss(each.after)}"
    return ""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Make and try patches for transformers.")
    parser.add_argument("names", nargs="*", help="classes (default: all that are changed)")
    parser.add_argument("--jobs", type=int, default=1, help="processes for each of the two libraries")
    parser.add_argument("--measure", choices=(BEFORE, AFTER), help=argparse.SUPPRESS)
    parser.add_argument("--publish", action="store_true", help="write of what is measured already")
    options = parser.parse_args()
    if options.measure:
        measure(options.names, options.measure, options.jobs)
        return
    plan = Plan(library())
    if not options.publish:
        with tempfile.TemporaryDirectory() as folder:
            plan.write(Path(folder))
            measure_both(options.names or plan.names, Path(folder), options.jobs)
    for each in outcomes(plan):
        if each.name in options.names:
            print(each.name, code(each.before), loss(each.before), code(each.after), loss(each.after), why(each))
    if not options.names:
        publish(plan)


if __name__ == "__main__":
    main()
