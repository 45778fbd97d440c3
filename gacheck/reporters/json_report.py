"""The analysis as JSON, in the shape that `document.py` gives."""

from __future__ import annotations

import json
import math
from typing import Any, cast

from gacheck.core.figures import PassFigures, StepFigures
from gacheck.core.finding import PassFinding
from gacheck.core.verdict import FlagFacts
from gacheck.record.parts import SCHEMA_VERSION
from gacheck.reporters.document import (
    Attached,
    Document,
    Environment,
    Evaluation,
    Gradient,
    LossKwargs,
    Match,
    OnOff,
    Outcome,
    Pass,
    Step,
    TailPass,
    Verdict,
)
from gacheck.reporters.grid import rule_name
from gacheck.reporters.reporter import TRAININGS, Reporter
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis


def render_json(analysis: Analysis) -> str:
    """Render the contract's document; numbers that are not finite become null."""
    record = analysis.record
    document: Document = {
        "kind": record.kind,
        "schema_version": SCHEMA_VERSION,
        "complete": record.complete,
        "model": {
            "name": record.model.name,
            "class": record.model.class_name,
            "model_type": record.model.model_type,
            "num_parameters": record.model.num_parameters,
            "task": record.model.task,
            "stand_in": record.model.stand_in,
            "random_weights": record.model.random_weights,
        },
        "environment": _environment(analysis),
        "loss_kwargs": loss_kwargs(analysis.flag),
        "tolerance": {"loss": analysis.tolerance.loss, "gradient": analysis.tolerance.gradient},
        "passes": [_pass(p) for p in analysis.passes],
        "tail_passes": [_tail(p) for p in analysis.tails],
        "divergence": [
            {
                "accumulation_steps": d.accumulation_steps,
                "first_step_on_minus_off": d.first_step_on_minus_off,
                "first_step_ratio": d.first_step_ratio,
                "max_abs_on_minus_off": d.max_abs_on_minus_off,
            }
            for d in analysis.divergence
        ],
        "evaluation": _evaluation(analysis),
        "attached": _attached(analysis),
        "verdict": _verdict(analysis),
    }
    return json.dumps(finite(document), indent=1, allow_nan=False) + "\n"


def loss_kwargs(flag: FlagFacts) -> LossKwargs:
    """Return what is known of the flag."""
    return {
        "declared": flag.declared,
        "inferred": flag.inferred,
        "auto": None if flag.auto is None else flag.auto.is_on,
        "used_num_items_in_batch": flag.used_num_items_in_batch,
    }


def _environment(analysis: Analysis) -> Environment:
    environment, hardware = analysis.record.environment, analysis.record.hardware
    facts: dict[str, Any] = {
        "gacheck": environment.gacheck,
        "python": environment.python,
        "platform": environment.platform,
        **environment.packages,
        "device": hardware.device,
        "device_name": hardware.device_name,
        "dtype": hardware.dtype,
        "autocast": hardware.autocast,
        "world_size": hardware.world_size,
        "average_tokens_across_devices": hardware.average_tokens_across_devices,
    }
    # No type can say that the names of the packages are keys.
    return cast("Environment", facts)


def _pass(figures: PassFigures) -> Pass:
    """Give a pass of any status the same keys, so that a reader need not ask for the status first."""
    return {
        **_outcome(figures),
        "first_step": {
            "reported_loss": figures.reported_loss,
            "reference_loss": figures.reference_loss,
            "ratio": figures.ratio,
            "grad_norm": figures.grad_norm,
            "grad_norm_ratio": figures.grad_norm_ratio,
            "grad_cosine": figures.grad_cosine,
            "worst_parameter": figures.worst_parameter,
        },
        "objective": figures.objective,
        "rule": rule_name(figures.forward),
        "match": _match(figures),
        "steps": [_step(step) for step in figures.steps],
        "heldout_loss": figures.heldout_loss,
    }


def _outcome(figures: PassFigures) -> Outcome:
    return {
        "id": figures.id,
        "accumulation_steps": figures.accumulation_steps,
        "loss_kwargs": _word(figures.loss_kwargs),
        "status": figures.status,
        "error": figures.error,
        "nonfinite": figures.nonfinite,
    }


def _match(figures: PassFigures) -> Match:
    found = figures.forward
    return {
        "relative_error": found.relative_error if found else None,
        "runner_up": found.runner_up.name if found and found.runner_up else None,
        "runner_up_error": found.runner_up_error if found else None,
        "separation": found.separation if found else None,
        "backward_rule": rule_name(figures.backward),
        "gradient": _gradient(figures.gradient),
    }


def _step(step: StepFigures) -> Step:
    return {
        "step": step.step,
        "reported_loss": step.reported_loss,
        "reference_loss": step.reference_loss,
        "ratio": step.ratio,
        "grad_norm": step.grad_norm,
    }


def _evaluation(analysis: Analysis) -> Evaluation | None:
    found = analysis.record.oracle.evaluation
    if found is None:
        return None
    return {"num_rows": found.num_rows, "loss_together": found.together_nats, "loss_alone": found.alone_nats}


def _attached(analysis: Analysis) -> Attached | None:
    record = analysis.attached
    if record is None:
        return None
    chosen = record.setup.chosen_loss_kwargs
    return {
        "trainer_class": record.setup.trainer_class,
        "chosen_loss_kwargs": None if chosen is None else chosen.is_on,
        "average_tokens_across_devices": record.setup.average_tokens_across_devices,
        "num_processes_seen": record.num_processes_seen,
        "num_steps": record.num_observed_steps,
        "unseen": list(record.unseen),
    }


def _gradient(found: PassFinding | None) -> Gradient | None:
    if found is None:
        return None
    name, error = next(iter(found.worst_parameters), (None, None))
    return {
        "rule": found.gradient_rule.name if found.gradient_rule else None,
        "norm_ratio": found.norm_ratio,
        "cosine": found.cosine,
        "worst_parameter": name,
        "worst_relative_error": error,
    }


def _tail(figures: PassFigures) -> TailPass:
    judged = [step for step in figures.steps if step.reference_loss is not None]
    return {
        **_outcome(figures),
        "steps": [
            {
                "step": step.step,
                "num_micro_batches": step.num_micro_batches,
                "rule": rule_name(step.forward),
                "relative_error": step.forward.relative_error if step.forward else None,
                "backward_rule": rule_name(step.backward),
            }
            for step in judged
        ],
    }


def _verdict(analysis: Analysis) -> Verdict:
    verdict = analysis.verdict
    words = verdict.words
    return {
        "code": verdict.code,
        "codes": list(verdict.codes),
        "severity": verdict.severity,
        "auto_rule": verdict.auto_rule,
        "affects": verdict.affects,
        "better_flag": None if verdict.better_flag is None else _word(Flag(verdict.better_flag)),
        "remaining": verdict.remaining,
        "summary": words.summary,
        "cause": words.cause,
        "certainty": words.certainty,
        "compared": words.compared,
        "impact": words.impact,
        "fix": words.fix,
        "notes": list(words.notes),
        "docs": words.docs,
        "remedy": {
            "trainer": words.remedy.trainer,
            "model_class": words.remedy.model_class,
            "llamafactory": words.remedy.llamafactory,
            "trl": words.remedy.trl,
        },
    }


def _word(flag: Flag) -> OnOff:
    return "on" if flag.is_on else "off"


def finite(value: Any) -> Any:
    """Replace what JSON has no number for, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value


REPORTERS = (Reporter("json", ".json", False, TRAININGS, lambda analysis, view: render_json(analysis).encode()),)
