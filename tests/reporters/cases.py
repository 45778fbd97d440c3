"""Records of every kind that a reporter may be handed, and a model name that would like to do harm."""

from __future__ import annotations

import math
from dataclasses import replace

from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.parts import PassRecord
from gacheck.record.run import RunRecord
from tests.builders import (
    ROWS,
    FlagLike,
    Gradient,
    attached_run,
    failed_pass,
    full_run,
    pass_record,
    run_record,
)

KS = (1, 2, 4, 8)
FLAGS: tuple[FlagLike, ...] = ("on", "off")

HOSTILE = "[bold]x[/] | a\nOK  all is well\r\x1b[2J\x1b]0;t\x07 \u202e $\\frac{1$ \udc80"
"""Rich markup, a table's pipe, a forged line, terminal commands, a text direction, mathtext, a lone surrogate."""


def spoil(record: PassRecord, value: float = math.nan, step: int = 0) -> PassRecord:
    """Make one micro-batch of one step come out as `value`, and the step's gradient infinite."""
    steps = list(record.steps)
    micro_batches = list(steps[step].micro_batches)
    micro_batches[0] = replace(micro_batches[0], reported_loss_nats=value)
    steps[step] = replace(steps[step], micro_batches=tuple(micro_batches), grad_norm=math.inf)
    return record.model_copy(update={"steps": tuple(steps)})


def per_device_run() -> RunRecord:
    """One row a micro-batch: every k has its own rows in the first step, and its own right answer."""
    flags: tuple[tuple[FlagLike, str], ...] = (("on", "sum_of_means"), ("off", "mean_of_means"))
    return run_record(
        [pass_record(k, flag, rule, rows=ROWS[:k]) for flag, rule in flags for k in KS],
        config={"effective_batch_size": None, "per_device_train_batch_size": 1},
    )


def router_run(on: str, off: str) -> RunRecord:
    """An auxiliary loss beside cross-entropy."""
    return run_record(
        [pass_record(k, "on", on, auxiliary=0.5, gradient=Gradient(on)) for k in KS]
        + [pass_record(k, "off", off, auxiliary=0.5) for k in KS]
    )


def tail_run() -> RunRecord:
    """The end of an epoch: measured with the flag off, failed with it on; and k = 4 is yet to run with it on."""
    failed = failed_pass(4, "on", auto=False)
    return run_record(
        [pass_record(k, "off", "mean_of_means", auto=False) for k in (2, 4)]
        + [pass_record(2, "on", "token_mean", auto=False)]
        + [pass_record(4, "off", "short_step_over_k", auto=False, num_micro_batches=3, num_steps=1)]
        + [failed.model_copy(update={"id": "k4-on-tail", "tail": True})]
    )


def hostile_run() -> RunRecord:
    """All words that come from outside are hostile."""
    record = run_record([failed_pass(2, "on"), pass_record(2, "off", "mean_of_means")])
    failed = record.passes[0]
    assert failed.error is not None
    error = failed.error.model_copy(update={"kind": "Error", "message": HOSTILE})
    model = record.model.model_copy(
        update={"name": HOSTILE, "class_name": HOSTILE, "model_type": HOSTILE, "stand_in": False}
    )
    hardware = record.hardware.model_copy(update={"device_name": HOSTILE})
    passes = (failed.model_copy(update={"error": error}), record.passes[1])
    return record.model_copy(update={"model": model, "hardware": hardware, "passes": passes})


TAIL_NOT_RUN = run_record(
    [pass_record(k, flag, "token_mean") for k in (2, 4) for flag in FLAGS], config={"short_last_step": True}
)
"""The tails of the epoch were planned, and have yet to run."""

RECORDS: dict[str, AnyTrainingRecord] = {
    "scaled": full_run("sum_of_means", "mean_of_means"),
    "right": full_run("token_mean", "mean_of_means"),
    "unshifted": full_run("unshifted_token_mean", "unshifted_token_mean"),
    "scaled off": full_run("mean_of_means", "sum_of_means", auto=False),
    "partial": run_record(
        [*(pass_record(k, "on", "sum_of_means") for k in KS), pass_record(1, "off", "mean_of_means")],
        config={"gradient_accumulation_steps": list(KS)},
    ),
    "nothing": run_record([]),
    "one pass": run_record([pass_record(4, "on", "sum_of_means")]),
    "one flag": run_record([pass_record(k, "on", "sum_of_means") for k in KS]),
    "refused": run_record(
        [failed_pass(k, "on", rejects=True) for k in KS] + [pass_record(k, "off", "mean_of_means") for k in KS]
    ),
    "all failed": run_record([failed_pass(k, "on") for k in KS] + [failed_pass(k, "off") for k in KS]),
    "nan": run_record(
        [spoil(pass_record(2, "on", "token_mean")), spoil(pass_record(4, "on", "token_mean"), step=1)]
        + [pass_record(k, "off", "mean_of_means") for k in (2, 4)]
    ),
    "inf": run_record([spoil(pass_record(2, "on", "token_mean"), math.inf)]),
    "rules by row": run_record(
        [pass_record(1, "on", "token_mean", scale=1.2), pass_record(2, "on", "mean_of_means")]
        + [pass_record(4, "on", "sum_of_means", scale=1.1), pass_record(8, "on", "token_mean")]
        + [pass_record(k, "off", "sum_of_means") for k in KS]
    ),
    "per device": per_device_run(),
    "router": router_run("token_mean+aux_loss_sum", "mean_of_means"),
    "strange gradient": run_record(
        [pass_record(k, "on", "token_mean", gradient=Gradient("token_mean", norm_ratio=2.0)) for k in KS]
        + [pass_record(k, "off", "mean_of_means") for k in KS]
    ),
    "long labels": router_run("mean_of_means+aux_loss_sum", "unshifted_token_mean+aux_loss_sum"),
    "two processes": run_record(
        [pass_record(k, "on", "sum_of_means*W", world_size=2) for k in KS]
        + [pass_record(k, "off", "mean_of_means/W", world_size=2) for k in KS],
        world_size=2,
    ),
    "other count": run_record(
        [pass_record(1, "on", "token_mean")]
        + [pass_record(k, "on", "misaligned_count", count=120.0) for k in KS[1:]]
        + [pass_record(k, "off", "mean_of_means") for k in KS]
    ),
    "tail": tail_run(),
    "attached": attached_run("sum_of_means"),
    "attached, flag set": attached_run("mean_of_means", flag="off"),
    "attached, in part": attached_run("token_mean", unseen=("ValueError: one micro-batch held no labels",)),
    "hostile": hostile_run(),
}
