"""Runs and the verdicts that they deserve."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

from gacheck.record.parts import PassRecord
from gacheck.record.run import RunRecord
from gacheck.words.analysis import Verdict, analyse
from tests.builders import FlagLike, Gradient, failed_pass, full_run, pass_record, run_record
from tests.core.edits import OTHER_ROWS, noisy_oracle, with_grad_norm, with_losses, with_observed

KS = (1, 2, 4, 8)


def passes(flag: FlagLike, rule: str, *, auto: bool = True, **options: object) -> list[PassRecord]:
    return [pass_record(k, flag, rule, auto=auto, **options) for k in KS]  # type: ignore[arg-type]


def failed(flag: FlagLike, *, rejects: bool = False, auto: bool = True) -> list[PassRecord]:
    return [failed_pass(k, flag, rejects=rejects, auto=auto) for k in KS]


def nan_late() -> RunRecord:
    broken = [with_losses(p, lambda i, loss: math.nan, step=2) for p in passes("on", "token_mean")[3:]]
    return run_record([*passes("on", "token_mean")[:3], *broken, *passes("off", "mean_of_means")])


def nan_everywhere() -> RunRecord:
    broken = [with_losses(p, lambda i, loss: math.nan) for p in passes("on", "token_mean")]
    return run_record([*broken, *passes("off", "mean_of_means")])


def other_objective(rule: str) -> RunRecord:
    made = [
        *passes("on", rule, rows=OTHER_ROWS, gradient=Gradient(rule, objective="own")),
        *passes("off", "mean_of_means", rows=OTHER_ROWS, gradient=Gradient("mean_of_means", objective="own")),
    ]
    config = {"label_smoothing_factor": 0.1}
    return run_record([with_observed(p, weight_spread=0.8) for p in made], config=config)


def mixed_k() -> RunRecord:
    ks = [pass_record(2, "on", "mean_of_means"), pass_record(4, "on", "sum_of_means")]
    return run_record(ks + [pass_record(k, "off", "token_mean") for k in (2, 4)])


def by_norm(rule: str, norm: float) -> RunRecord:
    """Weights in backward unseen; the right gradient's norm is 2."""
    return run_record([with_grad_norm(p, norm) for p in passes("on", rule, backward=None)])


def short_last_step() -> RunRecord:
    """Flag off as chosen, with the tail of an epoch: 3 of 4 micro-batches; flag on right throughout."""
    tails = [
        pass_record(4, flag, rule, auto=False, num_micro_batches=3, num_steps=1)
        for flag, rule in (("off", "short_step_over_k"), ("on", RIGHT))
    ]
    whole = [*passes("off", "mean_of_means", auto=False), *passes("on", RIGHT, auto=False)]
    return run_record([*(p for p in whole if p.accumulation_steps <= 4), *tails])


def count_of_another_step() -> RunRecord:
    """At k = 1 the count is that of the step; above, 120 in place of 100."""
    on = [pass_record(1, "on", RIGHT), *(pass_record(k, "on", "misaligned_count", count=120.0) for k in KS[1:])]
    return run_record([*on, *passes("off", "mean_of_means")])


def router_loss(rule: str, *, agrees: bool = True) -> RunRecord:
    evidence = Gradient(rule) if agrees else None
    on = passes("on", rule, auxiliary=0.5, gradient=evidence)
    return run_record(on + passes("off", "mean_of_means", auxiliary=0.5))


def two_processes(rule: str) -> RunRecord:
    return run_record(passes("on", rule, world_size=2) + passes("off", "mean_of_means"), world_size=2)


def by_gradient(rule: str, backward: str) -> RunRecord:
    """The gradient is that of `backward`; its norm by itself was not seen, nor, where it follows, its weights."""
    weights = None if backward == rule else backward
    return run_record(
        [with_grad_norm(p, None) for p in passes("on", rule, backward=weights, gradient=Gradient(backward))]
    )


MEANS, RIGHT = "MEAN_OF_MEANS", "token_mean"
# Name -> record, (code, affects, better flag, remaining). The first block is `known-cases.md`, row by row.
CASES: dict[str, tuple[Callable[[], RunRecord], tuple[str, str, str | None, str | None]]] = {
    "4.50.3 Gemma3; XLNet": (
        lambda: full_run("sum_of_means", "mean_of_means", used=False),
        ("SCALED_BY_ACCUMULATION", "both", "off", MEANS),
    ),
    "4.57.6 Gemma3": (
        lambda: full_run("sum_of_means", "mean_of_means", auto=False, used=False),
        (MEANS, "both", None, None),
    ),
    "5.23.0": (lambda: full_run(RIGHT, "mean_of_means"), ("OK", "none", None, None)),
    "4.57.6 Llama": (
        lambda: full_run("unshifted_token_mean", "mean_of_means"),
        ("UNSHIFTED_TOKEN_COUNT", "both", None, None),
    ),
    "4.46.0 Llama": (lambda: full_run(RIGHT, "sum_of_means"), ("OK", "none", None, None)),
    "4.46.0, chosen off": (
        lambda: full_run(RIGHT, "sum_of_means", auto=False),
        ("SCALED_BY_ACCUMULATION", "both", "on", None),
    ),
    "4.45; no use of the count": (
        lambda: full_run("mean_of_means", "mean_of_means", auto=False, used=False),
        (MEANS, "both", None, None),
    ),
    "own compute_loss_func": (
        lambda: full_run("sum_of_means", "sum_of_means", used=False),
        ("SCALED_BY_ACCUMULATION", "both", None, None),
    ),
    "loss_is_scaled_for_ga": (
        lambda: full_run("token_mean_over_k", "mean_of_means"),
        ("DIVIDED_TWICE", "both", "off", MEANS),
    ),
    "set to off by hand": (lambda: full_run(RIGHT, "mean_of_means", auto=False), (MEANS, "both", "on", None)),
    "off unshifted": (
        lambda: full_run("token_mean_over_k", "unshifted_token_mean"),
        ("DIVIDED_TWICE", "both", "off", "UNSHIFTED_TOKEN_COUNT"),
    ),
    "log only": (
        lambda: run_record(passes("on", "sum_of_means", backward=RIGHT) + passes("off", RIGHT)),
        ("SCALED_BY_ACCUMULATION", "log", "off", None),
    ),
    "gradient only": (
        lambda: run_record(passes("on", RIGHT, backward="sum_of_means") + passes("off", RIGHT)),
        ("SCALED_BY_ACCUMULATION", "gradient", "off", None),
    ),
    "weights unseen, norm × 8": (lambda: by_norm("sum_of_means", 16.0), ("SCALED_BY_ACCUMULATION", "both", None, None)),
    "weights unseen, norm right": (
        lambda: by_norm("sum_of_means", 2.0),
        ("SCALED_BY_ACCUMULATION", "log", None, None),
    ),
    "auto on refused": (
        lambda: run_record(failed("on", rejects=True) + passes("off", "mean_of_means")),
        ("LOSS_KWARGS_REJECTED", "none", "off", MEANS),
    ),
    "auto off, on refused": (
        lambda: run_record(failed("on", rejects=True, auto=False) + passes("off", "mean_of_means", auto=False)),
        (MEANS, "both", None, None),
    ),
    "auto failed": (
        lambda: run_record(failed("on") + passes("off", RIGHT)),
        ("INCONCLUSIVE", "none", None, None),
    ),
    "one k failed": (
        lambda: run_record([*passes("on", RIGHT)[:3], failed_pass(8, "on"), *passes("off", "mean_of_means")]),
        ("INCONCLUSIVE", "none", None, None),
    ),
    "NaN at one k, step 2": (nan_late, ("NONFINITE", "both", "off", MEANS)),
    "NaN everywhere": (nan_everywhere, ("NONFINITE", "both", "off", MEANS)),
    "auto not run": (lambda: run_record(passes("off", "mean_of_means")), ("INCONCLUSIVE", "none", None, None)),
    "auto alone run": (lambda: run_record(passes("off", "mean_of_means", auto=False)), (MEANS, "both", None, None)),
    "auto alone run, × k": (
        lambda: run_record(passes("on", "sum_of_means")),
        ("SCALED_BY_ACCUMULATION", "both", None, None),
    ),
    "k = 1 alone": (lambda: full_run("sum_of_means", "mean_of_means", ks=(1,)), ("OK", "none", None, None)),
    "nothing run": (lambda: run_record([]), ("INCONCLUSIVE", "none", None, None)),
    "k differ": (mixed_k, ("SCALED_BY_ACCUMULATION", "both", "off", None)),
    "other objective": (lambda: other_objective(RIGHT), ("OTHER_OBJECTIVE", "none", None, None)),
    "other objective, × k": (
        lambda: other_objective("sum_of_means"),
        ("SCALED_BY_ACCUMULATION", "both", "off", MEANS),
    ),
    "unexplained": (
        # Of what nothing explains, nobody knows what a value that is not right either would mend.
        lambda: run_record(passes("on", RIGHT, scale=1.37) + passes("off", "mean_of_means")),
        ("UNEXPLAINED", "log", None, None),
    ),
    "unexplained, and right with the other": (
        lambda: run_record(passes("on", RIGHT, scale=1.37) + passes("off", RIGHT)),
        ("UNEXPLAINED", "log", "off", None),
    ),
    "short last step": (short_last_step, ("SHORT_LAST_STEP", "both", "on", None)),
    "count of another step": (count_of_another_step, ("MISALIGNED_COUNT", "both", "off", MEANS)),
    "router loss × k": (
        lambda: router_loss("token_mean+aux_loss_sum"),
        ("AUX_LOSS_SCALED", "both", "off", MEANS),
    ),
    "router loss, right": (lambda: router_loss(RIGHT), ("OTHER_OBJECTIVE", "none", None, None)),
    "router loss in the mean, × k": (
        lambda: router_loss("sum_of_means+aux_loss_sum"),
        ("SCALED_BY_ACCUMULATION", "both", "off", MEANS),
    ),
    "two processes, × W": (lambda: two_processes("token_mean*W"), ("WORLD_SIZE_SCALED", "both", "off", MEANS)),
    "two processes, × k and × W": (
        lambda: two_processes("sum_of_means*W"),
        ("SCALED_BY_ACCUMULATION", "both", "off", MEANS),
    ),
    "gradient follows the wrong log": (
        lambda: by_gradient("sum_of_means", "sum_of_means"),
        ("SCALED_BY_ACCUMULATION", "both", None, None),
    ),
    "gradient does not follow the wrong log": (
        lambda: by_gradient("sum_of_means", RIGHT),
        ("SCALED_BY_ACCUMULATION", "log", None, None),
    ),
    "gradient does not follow the right log": (
        lambda: by_gradient(RIGHT, "sum_of_means"),
        ("SCALED_BY_ACCUMULATION", "gradient", None, None),
    ),
    "gradient follows the right log": (lambda: by_gradient(RIGHT, RIGHT), ("OK", "none", None, None)),
    "short last step beside right ones": (
        lambda: run_record(
            [*passes("on", RIGHT), pass_record(4, "on", "short_step_over_k", num_micro_batches=3, num_steps=1)]
        ),
        ("SHORT_LAST_STEP", "both", None, None),
    ),
    "count of another step, nearly the same": (
        lambda: run_record(
            [pass_record(1, "on", RIGHT), *(pass_record(k, "on", "misaligned_count", count=100.5) for k in KS[1:])]
        ),
        ("MISALIGNED_COUNT", "both", None, None),
    ),
    "router loss × k, gradients not compared": (
        lambda: run_record([with_grad_norm(p, 2.5) for p in passes("on", "token_mean+aux_loss_sum", auxiliary=0.5)]),
        ("AUX_LOSS_SCALED", "both", None, None),
    ),
    "plain sum": (lambda: full_run("sum", "sum_over_k", used=False), ("NOT_NORMALISED", "both", None, None)),
    "plain sum, chosen off": (
        lambda: full_run("sum", "sum_over_k", auto=False, used=False),
        ("NOT_NORMALISED", "both", None, None),
    ),
    "coarse": (
        lambda: run_record(passes("on", RIGHT, backward=None), oracle_record=noisy_oracle(0.1)),
        ("INCONCLUSIVE", "log", None, None),
    ),
}


@cache
def verdict_of(name: str) -> Verdict:
    return analyse(CASES[name][0]()).verdict
