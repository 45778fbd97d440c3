"""What explains the losses of one optimizer step by itself: a rule, and what the training means to minimise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gacheck.rules.facts import MicroBatchRecord
from gacheck.rules.matching import Match, Measurement, match
from gacheck.rules.steps import HYPOTHESES, Hypothesis, optimizer_step
from gacheck.rules.table import OptimizerStep, Rule, rule_table


@dataclass(frozen=True)
class Explanation:
    """A rule that predicts every micro-batch's loss, or the mildest of several that the losses do not tell apart.

    Attributes:
        hypothesis: What the training was taken to minimise.
        step: As the rule sees it.
        found: How well it fits.
    """

    hypothesis: Hypothesis
    step: OptimizerStep
    found: Match

    @property
    def rule(self) -> Rule:
        """The rule."""
        return self.found.rule if self.found.rule is not None else self.found.fitting[0]


def explain(micro_batches: Sequence[MicroBatchRecord], accumulation_steps: int, tolerance: float) -> Explanation | None:
    """Hold a step's losses against the rules, under the simplest hypothesis that explains them; None if none does.

    Args:
        micro_batches: Of all processes.
        accumulation_steps: k as configured.
        tolerance: Relative error that correct arithmetic shows.
    """
    for hypothesis in HYPOTHESES:
        step = optimizer_step(micro_batches, accumulation_steps, hypothesis)
        if step is None:
            continue
        num = step.num_processes
        losses = tuple(m.reported_loss_nats / num for m in micro_batches)
        rules = rule_table(world_size=num, num_processes=num, auxiliary=hypothesis == "auxiliary")
        found = match([Measurement(step, losses)], tolerance, rules)
        if found.explained:
            return Explanation(hypothesis, step, found)
    return None
