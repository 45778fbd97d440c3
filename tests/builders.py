"""Records made by a rule instead of a training: what a pass would have returned if that rule held.

The rows are few and their numbers round, so that a person can check what follows from them by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gacheck.config import ExperimentConfig
from gacheck.record.attach import AttachedSetup, AttachRecord
from gacheck.record.environment import Environment
from gacheck.record.parts import (
    HardwareFacts,
    ModelFacts,
    Noise,
    OracleRecord,
    PassError,
    PassRecord,
    RowLoss,
)
from gacheck.record.plan import PassSpec
from gacheck.record.run import DataFacts, RunRecord
from gacheck.rules.facts import CodeLocation, Flag, GradientProducts, MicroBatchRecord, Observation, StepRecord
from gacheck.rules.gradients import multipliers
from gacheck.rules.steps import Hypothesis
from gacheck.rules.table import MicroBatch, OptimizerStep, Rule, rule_table

FlagLike = Flag | Literal["on", "off"]
"""A value of the flag, or its word."""

# Eight rows: (summed nats, target tokens). Label tokens are one more: the first of a row is not predicted.
ROWS: tuple[tuple[float, int], ...] = (
    (40.0, 8),
    (100.0, 16),
    (12.0, 4),
    (150.0, 32),
    (30.0, 5),
    (90.0, 20),
    (60.0, 10),
    (33.0, 5),
)

NOISE = Noise(resolution=2.4e-7, regrouping=1e-7, repeat=0.0, plain_loss=2e-7, gradient_norm=1e-7)


def row_losses(rows: Sequence[tuple[float, int]] = ROWS) -> tuple[RowLoss, ...]:
    return tuple(
        RowLoss(fingerprint=f"row{i}", sum_nats=s, num_target_tokens=n, num_label_tokens=n + 1)
        for i, (s, n) in enumerate(rows)
    )


def rule_named(name: str, world_size: int = 1) -> Rule:
    """Return a rule or a combination by its name; without an auxiliary loss, that part of it adds nothing."""
    return {rule.name: rule for rule in rule_table(world_size=world_size, auxiliary=True)}[name]


def optimizer_step(
    k: int,
    rows: Sequence[tuple[float, int]] = ROWS,
    *,
    num_micro_batches: int | None = None,
    count: float | None = None,
    auxiliary: float = 0.0,
) -> OptimizerStep:
    """Group rows into micro-batches of len(rows) / k rows each.

    Args:
        num_micro_batches: How many of the k the step has; fewer make the tail of an epoch.
        count: `num_items_in_batch` as passed; None where none was.
        auxiliary: a_m = auxiliary × 1, 1.1, 1.2, … for one micro-batch after the other.
    """
    size = len(rows) // k
    groups = [rows[i * size : (i + 1) * size] for i in range(num_micro_batches or k)]
    micro_batches = (
        MicroBatch(
            sum_nats=sum(s for s, _ in group),
            num_target_tokens=sum(n for _, n in group),
            num_label_tokens=sum(n + 1 for _, n in group),
            num_items_in_batch=count,
            auxiliary_nats=auxiliary * (1 + i / 10),
        )
        for i, group in enumerate(groups)
    )
    return OptimizerStep(tuple(micro_batches), k)


def oracle(rows: Sequence[tuple[float, int]] = ROWS, noise: Noise = NOISE, used: bool = True) -> OracleRecord:
    return OracleRecord(
        rows=row_losses(rows),
        shifts=True,
        shift_errors=(1e-8, 0.02),
        noise=noise,
        gradient_norms={len(rows): 2.0},
        plain_loss_nats=5.0,
        counted_loss_nats=2.5 if used else 5.0,
        counted_loss_error=None,
        loss_location=(CodeLocation(file="/site/transformers/modeling_tiny.py", line=42, function="forward"),),
    )


WORST_PARAMETER = "model.layers.0.mlp.weight"


@dataclass(frozen=True)
class Gradient:
    """What reached the parameters: the gradient of `rule`, or one that has another norm or direction.

    Attributes:
        objective: Of what the rule is; None: of cross-entropy, and of what is beside it where the pass has that.
        noise: By how much rounding may change it, relative to its norm.
    """

    rule: str
    norm_ratio: float = 1.0
    cosine: float = 1.0
    objective: Hypothesis | None = None
    noise: float = 0.0

    def products(self, step: OptimizerStep, world_size: int) -> tuple[GradientProducts, ...]:
        """Make the inner products, as if the replays' gradients had norm 1 and stood upright on each other.

        Where the objective is more than cross-entropy there are the replays of the own loss, too.
        """
        has_auxiliary = any(m.auxiliary_nats for m in step.micro_batches)
        objective = self.objective or ("auxiliary" if has_auxiliary else "plain")
        rule = rule_named(self.rule, world_size)
        if objective != "auxiliary":
            rule = replace(rule, auxiliary="absent")
        size = len(step.micro_batches) * (1 if objective == "plain" else 2)
        multiplied = multipliers(rule, step, objective, size)
        assert multiplied is not None
        norm = self.norm_ratio * math.hypot(*multiplied)
        whole = GradientProducts(
            parameter=None,
            square=norm * norm,
            with_replays=tuple(self.norm_ratio * self.cosine * each for each in multiplied),
            among_replays=tuple(float(i == j) for i in range(size) for j in range(i + 1)),
            noise=self.noise * abs(norm),
        )
        return whole, replace(whole, parameter=WORST_PARAMETER)


def pass_record(
    k: int,
    flag: FlagLike,
    rule: str,
    *,
    backward: str | None = "same",
    auto: bool = True,
    rows: Sequence[tuple[float, int]] = ROWS,
    num_steps: int = 2,
    scale: float = 1.0,
    heldout: float = 4.5,
    num_micro_batches: int | None = None,
    count: float | None = None,
    auxiliary: float = 0.0,
    world_size: int = 1,
    gradient: Gradient | None = None,
) -> PassRecord:
    """Make the pass that `rule` predicts.

    Args:
        backward: The gradient's rule ("same": the same, None: not seen).
        num_micro_batches: As for `optimizer_step`, like `auxiliary`; the pass is then one of a tail.
        count: `num_items_in_batch`; by default the step's target tokens if the flag is on.
        world_size: The W of a rule that has one in its name; it goes with the same W of the run.
    """
    right = optimizer_step(k, rows, num_micro_batches=num_micro_batches).num_target_tokens
    passed = float(right) if Flag(flag).is_on and count is None else count
    step = optimizer_step(k, rows, num_micro_batches=num_micro_batches, count=passed, auxiliary=auxiliary)
    losses = [value * scale for value in rule_named(rule, world_size).contributions(step)]
    weights: Sequence[float | None] = [None] * len(losses)
    if backward is not None:
        weights = rule_named(rule if backward == "same" else backward, world_size).weights(step)
    size = len(rows) // k
    micro_batches = tuple(
        MicroBatchRecord(
            reported_loss_nats=losses[i],
            num_items_in_batch=passed,
            observation=Observation(
                rows=tuple(f"row{j}" for j in range(i * size, (i + 1) * size)),
                num_target_tokens=int(m.num_target_tokens),
                num_label_tokens=m.num_label_tokens,
                sum_nats=m.sum_nats,
                own_mean_nats=m.sum_nats / m.num_target_tokens + m.auxiliary_nats,
                weight=weights[i],
                weight_spread=1e-9 if weights[i] is not None else None,
            ),
        )
        for i, m in enumerate(step.micro_batches)
    )
    norm = 2.0 * (weights[0] or 1 / step.num_target_tokens) * step.num_target_tokens
    steps = tuple(
        StepRecord(
            step=number,
            micro_batches=micro_batches if number == 1 else tuple(replace(m, observation=None) for m in micro_batches),
            grad_norm=norm,
            gradients=gradient.products(step, world_size) if gradient is not None and number == 1 else (),
        )
        for number in range(1, num_steps + 1)
    )
    return PassRecord(
        id=PassSpec(k, Flag(flag), tail=num_micro_batches is not None).id,
        accumulation_steps=k,
        loss_kwargs=Flag(flag),
        status="ok",
        tail=num_micro_batches is not None,
        auto_loss_kwargs=Flag.of(auto),
        steps=steps,
        heldout_loss_nats=heldout,
        seconds=0.5,
    )


def failed_pass(k: int, flag: FlagLike, *, rejects: bool = False, auto: bool = True) -> PassRecord:
    error = PassError(
        kind="TypeError" if rejects else "OutOfMemoryError",
        message="forward() got an unexpected keyword argument 'num_items_in_batch'" if rejects else "out of memory",
        rejects_num_items_in_batch=rejects,
    )
    return PassRecord(
        id=f"k{k}-{flag}",
        accumulation_steps=k,
        loss_kwargs=Flag(flag),
        status="failed",
        error=error,
        auto_loss_kwargs=Flag.of(auto),
    )


def run_record(
    passes: Sequence[PassRecord],
    *,
    config: Mapping[str, object] | None = None,
    oracle_record: OracleRecord | None = None,
    declared: bool | None = None,
    world_size: int = 1,
) -> RunRecord:
    flags = list(dict.fromkeys(p.loss_kwargs for p in passes)) or [Flag.ON, Flag.OFF]
    ks = list(dict.fromkeys(p.accumulation_steps for p in passes)) or [1]
    defaults: dict[str, object] = {
        "effective_batch_size": 8,
        "max_steps": 2,
        "gradient_accumulation_steps": ks,
        "loss_kwargs": flags,
        "short_last_step": any(p.tail for p in passes),
    }
    return RunRecord(
        created_at="2026-01-02T03:04:05+00:00",
        command=("gacheck", "run", "--model", "tiny:gemma3"),
        config=ExperimentConfig.model_validate({**defaults, **(config or {})}),
        learning_rate=1e-3,
        environment=Environment(
            gacheck="0.1.0",
            python="3.11.7",
            platform="Linux",
            packages={"torch": "2.13.0", "transformers": "5.23.0", "accelerate": "1.15.0"},
        ),
        hardware=HardwareFacts(device="cpu", device_name="cpu", dtype="float32", autocast=None, world_size=world_size),
        model=ModelFacts(
            name="tiny:gemma3",
            class_name="Gemma3ForConditionalGeneration",
            model_type="gemma3",
            num_parameters=123_456,
            stand_in=True,
            random_weights=True,
            adapter=None,
            own_tokenizer=False,
            accepts_loss_kwargs_declared=declared,
            forward_has_kwargs=True,
        ),
        data=DataFacts(
            source="pydoc_data.topics",
            num_rows=16,
            num_heldout_rows=8,
            min_length=5,
            max_length=33,
            fingerprint="0" * 64,
        ),
        oracle=oracle_record or oracle(),
        passes=tuple(p for p in passes if not p.tail),
        tail_passes=tuple(p for p in passes if p.tail),
    )


def attached_run(
    rule: str,
    *,
    k: int = 4,
    flag: FlagLike = "on",
    unseen: Sequence[str] = (),
    chosen: bool | None = True,
    num_processes_seen: int = 1,
    **setup: object,
) -> AttachRecord:
    """Make the record of a training that was watched: one pass, its own k and flag, every step observed."""
    made = pass_record(k, flag, rule, auto=Flag(flag).is_on, heldout=0.0)
    first = made.steps[0]
    steps = tuple(replace(first, step=number) for number in (1, 2))
    told = {
        "gradient_accumulation_steps": k,
        "loss_kwargs": flag,
        "chosen_loss_kwargs": None if chosen is None else Flag.of(chosen),
        "trainer_class": "train:MyTrainer",
        "per_device_train_batch_size": 2,
        "average_tokens_across_devices": True,
        "optim": "adamw_torch",
        "max_grad_norm": 1.0,
        "label_smoothing_factor": 0.0,
    }
    run = run_record([made])
    return AttachRecord(
        created_at=run.created_at,
        command=("gacheck", "attach", "--", "python", "train.py"),
        environment=run.environment,
        hardware=run.hardware,
        model=run.model.model_copy(update={"random_weights": None, "stand_in": False}),
        oracle=OracleRecord(
            shifts=True,
            noise=Noise(resolution=NOISE.resolution, cross_entropy=1e-7),
            loss_location=run.oracle.loss_location,
        ),
        passes=(made.model_copy(update={"steps": steps, "heldout_loss_nats": None}),),
        setup=AttachedSetup.model_validate({**told, **setup}),
        num_observed_steps=2,
        num_processes_seen=num_processes_seen,
        unseen=tuple(unseen),
    )


def full_run(on: str, off: str, *, auto: bool = True, ks: Sequence[int] = (1, 2, 4, 8), used: bool = True) -> RunRecord:
    """Make the eight passes of a run in which `on` and `off` name the rules that hold."""
    return run_record(
        [pass_record(k, "on", on, auto=auto) for k in ks] + [pass_record(k, "off", off, auto=auto) for k in ks],
        oracle_record=oracle(used=used),
    )
