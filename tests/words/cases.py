"""Trainings whose faults have a maker that was read: what overrides the Trainer's own, at every door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.run import RunRecord
from gacheck.rules.facts import CodeLocation, Flag, Overrides, OwnLossFacts
from tests.builders import (
    WORST_PARAMETER,
    FlagLike,
    Gradient,
    attached_run,
    failed_pass,
    full_run,
    oracle,
    pass_record,
    run_record,
)
from tests.core.cases import passes

NEWEST = "5.24.0"
STEP, LOSS, COUNT = (f"train:MyTrainer.{name}" for name in ("training_step", "compute_loss", "get_batch_samples"))
GPT2 = {"class_name": "GPT2LMHeadModel", "has_loss_type": True}


def told(
    record: AnyTrainingRecord,
    *,
    release: str = NEWEST,
    overrides: Overrides | None = None,
    own: str | None = None,
    own_loss: OwnLossFacts | None = None,
    command: tuple[str, ...] | None = None,
    oracle_facts: dict[str, Any] | None = None,
    **model: Any,
) -> AnyTrainingRecord:
    """Return a record in which more was noted.

    Args:
        own: The function of the user's own code in which the loss is computed.
        model: Facts of the model.
    """
    facts = dict(oracle_facts or {})
    if overrides is not None:
        facts["overrides"] = overrides
    if own is not None:
        facts["loss_location"] = (CodeLocation(file="/home/me/train.py", line=7, function=own),)
    packages = {**record.environment.packages, "transformers": release}
    changed = {
        "oracle": record.oracle.model_copy(update=facts),
        "environment": record.environment.model_copy(update={"packages": packages}),
        "model": record.model.model_copy(update=model),
        "command": command or record.command,
    }
    if own_loss is not None:
        changed["passes"] = tuple(p.model_copy(update={"own_loss": own_loss}) for p in record.passes)
    return record.model_copy(update=changed)


def attached(rule: str, tried: str | None = None, *, flag: FlagLike = "on", **setup: Any) -> AnyTrainingRecord:
    """Return a training that was watched, its step tried at the other value of the flag."""
    record = attached_run(rule, flag=flag, **setup)
    if tried is None:
        return record
    again = pass_record(4, Flag(flag).other, tried, auto=Flag(flag).is_on, num_steps=1)
    return record.model_copy(update={"tried": (again.model_copy(update={"heldout_loss_nats": None}),)})


def both(rule: str) -> RunRecord:
    """Return a run in which the flag changes nothing."""
    return full_run(rule, rule)


def on_alone(rule: str, ks: Sequence[int] = (2, 4), **options: Any) -> RunRecord:
    return run_record([pass_record(k, "on", rule, **options) for k in ks])


def unshifted(record: AnyTrainingRecord, **facts: Any) -> AnyTrainingRecord:
    """Let the labels be scored at their own position."""
    return told(record, oracle_facts={"shifts": False, "model_shifts": True, "labels_are_inputs": True}, **facts)


def blind() -> AnyTrainingRecord:
    """Return a training of which nothing was seen."""
    record = attached_run("token_mean", unseen=("ValueError: its inputs hold no labels", "RuntimeError"))
    steps = tuple(
        replace(s, micro_batches=tuple(replace(m, observation=None) for m in s.micro_batches))
        for s in record.passes[0].steps
    )
    passes = (record.passes[0].model_copy(update={"steps": steps}),)
    return told(record.model_copy(update={"passes": passes}), built_by_auto_class=True)


def strange(**facts: Any) -> AnyTrainingRecord:
    """Return a run whose losses are right, and whose gradient is another."""
    return told(on_alone("token_mean", gradient=Gradient("token_mean", norm_ratio=2.38, cosine=0.81)), **facts)


def not_explained(**facts: Any) -> AnyTrainingRecord:
    return told(on_alone("token_mean", scale=1.37), **facts)


def short_last_step() -> RunRecord:
    tail = pass_record(4, "off", "short_step_over_k", auto=False, num_micro_batches=3, num_steps=1)
    return run_record([*passes("off", "mean_of_means", auto=False)[1:3], tail])


def count_at_the_end() -> RunRecord:
    """Return a run whose count is another step's at the end of an epoch alone."""
    tail = pass_record(4, "on", "misaligned_count", count=120.0, num_micro_batches=3, num_steps=1)
    return run_record([*passes("on", "token_mean")[1:3], tail])


def two_processes(rule: str) -> RunRecord:
    made = [pass_record(k, "on", rule, auxiliary=0.5, world_size=2, gradient=Gradient(rule)) for k in (2, 4)]
    return run_record(made, world_size=2)


def harmful() -> RunRecord:
    """Return a mean of means over one long micro-batch and three of a single target."""
    rows = ((900.0, 300), (3.0, 1), (3.0, 1), (3.0, 1))
    made = pass_record(4, "off", "mean_of_means", auto=False, rows=rows, gradient=Gradient("mean_of_means"))
    return run_record([made], oracle_record=oracle(rows), config={"effective_batch_size": 4})


SCALED = {
    "own step": lambda: told(both("sum_of_means"), overrides=Overrides(STEP, counts_micro_batches=True)),
    "own step, older": lambda: told(both("sum_of_means"), overrides=Overrides(STEP)),
    "own step that drops the count": lambda: told(
        both("sum_of_means"), overrides=Overrides(STEP, drops_count=("training_step",))
    ),
    "own step, times k": lambda: told(both("token_mean*k"), overrides=Overrides(STEP)),
    "own loss, times k": lambda: told(
        both("token_mean*k"),
        overrides=Overrides(compute_loss=LOSS, calls_own=("compute_loss",)),
        own_loss=OwnLossFacts(times_k=True),
    ),
    "own step and own mean, other value not tried": lambda: told(
        attached("sum_of_means"),
        overrides=Overrides(STEP, compute_loss=LOSS, drops_count=("compute_loss",)),
        own="compute_loss",
    ),
    "own step, other value not tried": lambda: told(attached("sum_of_means"), overrides=Overrides(STEP)),
    "said to be scaled": lambda: told(
        both("sum_of_means"),
        overrides=Overrides(compute_loss=LOSS, loss_is_scaled_for_ga=True, loss_is_scaled_set_by="train:MyTrainer"),
        own="compute_loss",
    ),
    "said to be scaled, by nobody's class": lambda: told(
        both("sum_of_means"), overrides=Overrides(loss_is_scaled_for_ga=True)
    ),
    "drops the count and calls on": lambda: told(
        full_run("sum_of_means", "mean_of_means"),
        overrides=Overrides(compute_loss=LOSS, calls_own=("compute_loss",), drops_count=("compute_loss",)),
    ),
    "drops the count, asks the model": lambda: told(
        full_run("sum_of_means", "mean_of_means"),
        overrides=Overrides(compute_loss=LOSS, drops_count=("compute_loss",)),
    ),
    "own mean": lambda: told(
        full_run("sum_of_means", "mean_of_means"),
        overrides=Overrides(compute_loss=LOSS, drops_count=("compute_loss",)),
        own="compute_loss",
    ),
    "own function": lambda: told(both("sum_of_means"), overrides=Overrides(compute_loss_func="my_loss:batch_mean")),
    "label smoother": lambda: told(both("sum_of_means"), overrides=Overrides(label_smoother=True), release="4.50.3"),
    "own model": lambda: told(full_run("sum_of_means", "mean_of_means"), own="forward", class_name="Mine"),
    "flag off, nobody divides": lambda: told(full_run("sum_of_means", "sum_of_means", auto=False), release="4.46.1"),
    "gradient alone, own step": lambda: told(
        run_record(passes("on", "token_mean", backward="sum_of_means")), overrides=Overrides(STEP)
    ),
    "gradient alone, 4.46.3": lambda: told(
        run_record(passes("off", "mean_of_means", backward="sum_of_means", auto=False)), release="4.46.3"
    ),
    "gradient alone": lambda: told(run_record(passes("on", "token_mean", backward="sum_of_means"))),
    "log alone, own step": lambda: told(
        run_record(passes("on", "sum_of_means", backward="token_mean")), overrides=Overrides(STEP)
    ),
    "attached": lambda: told(attached("sum_of_means")),
    "attached, tried": lambda: told(attached("sum_of_means", "mean_of_means")),
    "in code": lambda: told(attached("sum_of_means"), command=("train.py",)),
}
OTHERS = {
    "divided twice, said so": lambda: told(
        attached("token_mean_over_k"),
        overrides=Overrides(loss_is_scaled_for_ga=False, loss_is_scaled_set_by="train:MyTrainer"),
    ),
    "divided twice, own step": lambda: told(both("token_mean_over_k"), overrides=Overrides(STEP)),
    "divided twice, flag off": lambda: told(attached("token_mean_over_k", flag="off")),
    "sum, own function": lambda: told(both("sum"), overrides=Overrides(compute_loss_func="my_loss:total")),
    "sum, own loss": lambda: told(
        full_run("sum", "sum_over_k"), overrides=Overrides(compute_loss=LOSS), own="compute_loss"
    ),
    "sum, own model": lambda: told(full_run("sum", "sum_over_k", auto=False), own="forward", class_name="Mine"),
    "sum, nobody's": lambda: told(full_run("sum", "sum_over_k")),
    "router, two processes": lambda: told(two_processes("token_mean+aux_loss_sum*W")),
    "router": lambda: told(
        on_alone("token_mean+aux_loss_sum", auxiliary=0.5, gradient=Gradient("token_mean+aux_loss_sum"))
    ),
    "world size": lambda: told(
        run_record([pass_record(k, "on", "token_mean*W", world_size=2) for k in (2, 4)], world_size=2)
    ),
    "world size, own loss": lambda: told(
        run_record([pass_record(k, "on", "token_mean/W", world_size=2) for k in (2, 4)], world_size=2),
        overrides=Overrides(compute_loss=LOSS),
    ),
}
WEIGHED = {
    "means, class right by now": lambda: told(full_run("sum_of_means", "mean_of_means", auto=False), release="4.57.6"),
    "means, class never right": lambda: told(
        full_run("sum_of_means", "mean_of_means", auto=False, ks=(2, 4)), class_name="X"
    ),
    "means, other value not tried": lambda: told(run_record(passes("off", "mean_of_means", auto=False))),
    "means, attached": lambda: told(
        attached("mean_of_means", flag="off", chosen=False), built_by_auto_class=True, model_type="llama"
    ),
    "means, attached, a class of one's own": lambda: told(
        attached("mean_of_means", flag="off", chosen=False), built_by_auto_class=False
    ),
    "means, flag set by hand": lambda: told(attached("mean_of_means", "token_mean", flag="off")),
    "means, step drops the count": lambda: told(
        attached("mean_of_means"),
        overrides=Overrides(STEP, calls_own=("training_step",), drops_count=("training_step",)),
    ),
    "means, own step drops the count": lambda: told(
        attached("mean_of_means"), overrides=Overrides(STEP, drops_count=("training_step",))
    ),
    "means, drops the count, said not to be scaled": lambda: told(
        attached("mean_of_means"),
        overrides=Overrides(compute_loss=LOSS, drops_count=("compute_loss",), loss_is_scaled_for_ga=False),
    ),
    "means, own loss, said not to be scaled": lambda: told(
        attached("mean_of_means"),
        overrides=Overrides(compute_loss=LOSS, loss_is_scaled_for_ga=False, loss_is_scaled_set_by="train:MyTrainer"),
        own="compute_loss",
    ),
    "means, harmful": lambda: told(harmful()),
    "unshifted, 4.57.6": lambda: told(
        full_run("unshifted_token_mean", "mean_of_means"),
        release="4.57.6",
        class_name="LlamaForCausalLM",
        loss_type="ForCausalLM",
        has_loss_type=True,
    ),
    "unshifted, 4.57.6, no loss_type": lambda: told(
        full_run("unshifted_token_mean", "mean_of_means"), release="4.57.6", **GPT2
    ),
    "unshifted, no loss_type": lambda: told(full_run("unshifted_token_mean", "mean_of_means"), **GPT2),
    "unshifted, no loss_type, adapter": lambda: told(
        attached("unshifted_token_mean"), adapter="PeftModelForCausalLM", **GPT2
    ),
    "unshifted, own count": lambda: told(both("unshifted_token_mean"), overrides=Overrides(get_batch_samples=COUNT)),
    "unshifted, newest": lambda: told(both("unshifted_token_mean"), loss_type="ForCausalLM", has_loss_type=True),
    "labels, smoothed": lambda: unshifted(
        both("token_mean"), overrides=Overrides(label_smoother=True), class_name="Mistral3ForConditionalGeneration"
    ),
    "labels, own loss": lambda: unshifted(attached("token_mean"), overrides=Overrides(compute_loss=LOSS)),
    "labels, nobody's": lambda: unshifted(attached("token_mean")),
    "short last step, 4.50.3": lambda: told(short_last_step(), release="4.50.3"),
    "short last step, newest": lambda: told(short_last_step()),
    "short last step, own step": lambda: told(short_last_step(), overrides=Overrides(STEP, counts_micro_batches=True)),
    "count, own": lambda: told(on_alone("misaligned_count", count=120.0), overrides=Overrides(get_batch_samples=COUNT)),
    "count at the end, 4.46.0": lambda: told(count_at_the_end(), release="4.46.0"),
    "count at the end, newest": lambda: told(count_at_the_end()),
    "count, nobody's": lambda: told(on_alone("misaligned_count", count=120.0)),
}
UNANSWERED = {
    "gradient": strange,
    "gradient, hook": lambda: strange(oracle_facts={"hooked_parameters": ("embed.weight", WORST_PARAMETER)}),
    "gradient, own step": lambda: strange(overrides=Overrides(STEP)),
    "losses": not_explained,
    "losses, own step": lambda: not_explained(overrides=Overrides(STEP)),
    "not asked": lambda: not_explained(overrides=Overrides(STEP), own_loss=OwnLossFacts(is_asked=False)),
    "failed, run": lambda: told(run_record([failed_pass(4, "on")])),
    "failed, smoke": lambda: told(run_record([failed_pass(4, "on")]), command=("gacheck", "smoke")),
    "failed, code": lambda: told(run_record([failed_pass(4, "on")]), command=("gacheck", "tests")),
    "refused": lambda: told(run_record([failed_pass(4, "on", rejects=True)]), accepts_loss_kwargs_declared=True),
    "refused, smoke": lambda: told(
        run_record([failed_pass(4, "on", rejects=True), failed_pass(4, "off")]), command=("gacheck", "smoke")
    ),
    "nothing run": lambda: told(run_record([])),
    "choice not run": lambda: told(run_record(passes("off", "mean_of_means"))),
    "nothing seen": blind,
}
CULPRITS: dict[str, Callable[[], AnyTrainingRecord]] = {**SCALED, **OTHERS, **WEIGHED, **UNANSWERED}
