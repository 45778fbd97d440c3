"""Releases of transformers that are known to be right where an earlier one is not."""

from __future__ import annotations

import re

from gacheck.core.verdict import Case

Release = tuple[int, ...]

SHIFTED_COUNT = "5.14.1"
"""Counts labels after the shift, where the model's loss_type says that its loss shifts them."""

DIVIDES_WITH_FLAG_OFF = "4.48"
"""Divides by the micro-batches before backward; 4.46 does not, or divides what it logs alone."""

REAL_LENGTH = "4.55"
"""Divides a short last step by its own micro-batches."""

COUNTS_THE_STEP = "5.24.0"
"""Counts the batches of the step also where an epoch ends with a short one."""

SMOOTHER_USES_COUNT = "5.24.0"
"""Its label smoother divides by num_items_in_batch."""

CLASS_USES_COUNT = {"Gemma3ForConditionalGeneration": "5.17.0"}
"""Class of transformers -> a release in which it divides by num_items_in_batch."""

_MODELS = re.compile(r"(^|/)transformers/")


def is_older(case: Case, release: str) -> bool:
    """Whether the training ran under a release before this one; False where that is not known."""
    installed = case.record.environment.packages.get("transformers")
    return installed is not None and parsed(installed) < parsed(release)


def upgrade(case: Case, release: str, reason: str) -> str:
    """Advise to upgrade, where the installed release is older; else say nothing."""
    return f"Upgrade transformers to {release} or later, {reason}." if is_older(case, release) else ""


def upgrade_of_class(case: Case) -> str:
    """Advise to upgrade where the model's class is transformers' own and is known to use the count by then."""
    name = case.record.model.class_name
    release = CLASS_USES_COUNT.get(name)
    if release is None or not is_in_transformers(case):
        return ""
    return upgrade(case, release, f"whose {name} uses num_items_in_batch")


def is_in_transformers(case: Case) -> bool:
    """Whether the loss was seen to be computed in transformers' own code."""
    frames = case.record.oracle.loss_location
    return bool(frames) and _MODELS.search(frames[0].file) is not None


def parsed(version: str) -> Release:
    """Return the numbers of a release, by which it is ordered; of a preview those of the release that it precedes."""
    return tuple(map(int, re.findall(r"\d+", re.split(r"[^\d.]", version)[0])))
