"""The analysis as JSON: the contract for other programs. Keys are only ever added."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from gacheck.core.figures import PassFigures, StepFigures
from gacheck.core.findings import FlagFinding, PassFinding
from gacheck.record.parts import SCHEMA_VERSION, GradientEvidence
from gacheck.rules.facts import Flag
from gacheck.words.analysis import Analysis

# A pass of any status has the same keys, so that a reader need not ask for the status first.
_NO_FIRST_STEP = dict.fromkeys(("reported_loss", "reference_loss", "ratio", "grad_norm", "grad_norm_ratio"))
_NO_MATCH = dict.fromkeys(("relative_error", "runner_up", "runner_up_error", "separation", "backward_rule", "gradient"))


def render_json(analysis: Analysis) -> str:
    """Render the contract's document; numbers that are not finite become null."""
    record, flag = analysis.record, analysis.flag
    objectives = {f.flag: f.hypothesis for f in analysis.findings}
    document = {
        "kind": record.kind,
        "schema_version": SCHEMA_VERSION,
        "complete": record.complete,
        "model": {
            "name": record.model.name,
            "class": record.model.class_name,
            "model_type": record.model.model_type,
            "num_parameters": record.model.num_parameters,
            "stand_in": record.model.stand_in,
            "random_weights": record.model.random_weights,
        },
        "environment": _environment(analysis),
        "loss_kwargs": {
            "declared": flag.declared,
            "inferred": flag.inferred,
            "auto": flag.auto,
            "used_num_items_in_batch": flag.used_num_items_in_batch,
        },
        "tolerance": {"loss": analysis.tolerance.loss, "gradient": analysis.tolerance.gradient},
        "passes": [*(_pass(p, objectives[p.loss_kwargs]) for p in analysis.passes), *_skipped(analysis)],
        "tail_passes": [_tail(steps) for f in analysis.findings for steps in _tails(f)],
        "divergence": [
            {
                "accumulation_steps": d.accumulation_steps,
                "first_step_on_minus_off": d.first_step_on_minus_off,
                "first_step_ratio": d.first_step_ratio,
                "max_abs_on_minus_off": d.max_abs_on_minus_off,
            }
            for d in analysis.divergence
        ],
        "attached": _attached(analysis),
        "verdict": _verdict(analysis),
    }
    return json.dumps(_finite(document), indent=1, allow_nan=False) + "\n"


def _environment(analysis: Analysis) -> dict[str, Any]:
    environment, hardware = analysis.record.environment, analysis.record.hardware
    return {
        "gacheck": environment.gacheck,
        "python": environment.python,
        "platform": environment.platform,
        **environment.packages,
        "device": hardware.device,
        "device_name": hardware.device_name,
        "dtype": hardware.dtype,
        "autocast": hardware.autocast,
        "world_size": hardware.world_size,
    }


def _pass(figures: PassFigures, objective: str) -> dict[str, Any]:
    forward, backward = figures.finding.forward, figures.finding.backward
    match = dict(_NO_MATCH)
    if forward is not None:
        match |= {
            "relative_error": forward.relative_error,
            "runner_up": forward.runner_up.name if forward.runner_up else None,
            "runner_up_error": forward.runner_up_error,
            "separation": forward.separation,
        }
    match["backward_rule"] = backward.rule.name if backward and backward.rule else None
    match["gradient"] = _gradient(figures.finding.record.gradient)
    return {
        "id": figures.id,
        "accumulation_steps": figures.accumulation_steps,
        "loss_kwargs": figures.loss_kwargs,
        "status": figures.status,
        "error": figures.error,
        "nonfinite": figures.nonfinite,
        "first_step": {
            "reported_loss": figures.reported_loss,
            "reference_loss": figures.reference_loss,
            "ratio": figures.ratio,
            "grad_norm": figures.grad_norm,
            "grad_norm_ratio": figures.grad_norm_ratio,
        },
        "objective": objective if forward is not None else None,
        "rule": forward.rule.name if forward and forward.rule else None,
        "match": match,
        "steps": [_step(step) for step in figures.steps],
        "heldout_loss": figures.heldout_loss,
    }


def _step(step: StepFigures) -> dict[str, Any]:
    return {
        "step": step.step,
        "reported_loss": step.reported_loss,
        "reference_loss": step.reference_loss,
        "ratio": step.ratio,
        "grad_norm": step.grad_norm,
    }


def _attached(analysis: Analysis) -> dict[str, Any] | None:
    attached = analysis.record.attached
    if attached is None:
        return None
    return {
        "trainer_class": analysis.record.config.trainer_class,
        "chosen_loss_kwargs": attached.chosen_loss_kwargs,
        "average_tokens_across_devices": attached.average_tokens_across_devices,
        "num_processes_seen": attached.num_processes_seen,
        "num_steps": attached.num_steps,
        "unseen": list(attached.unseen),
    }


def _gradient(evidence: GradientEvidence | None) -> dict[str, Any] | None:
    if evidence is None:
        return None
    return {
        "rule": evidence.rule,
        "norm_ratio": evidence.norm_ratio,
        "cosine": evidence.cosine,
        "worst_parameter": evidence.worst_parameter,
        "worst_relative_error": evidence.worst_relative_error,
    }


def _tails(finding: FlagFinding) -> list[list[PassFinding]]:
    """Return the passes of a tail, each as the findings of its steps."""
    tails = [p for p in finding.passes if p.record.tail]
    return [[p for p in tails if p.record.id == id_] for id_ in dict.fromkeys(p.record.id for p in tails)]


def _tail(steps: Sequence[PassFinding]) -> dict[str, Any]:
    record = steps[0].record
    return {
        "id": record.id,
        "accumulation_steps": record.accumulation_steps,
        "loss_kwargs": record.loss_kwargs,
        "status": record.status,
        "error": f"{record.error.kind}: {record.error.message}" if record.error else None,
        "nonfinite": steps[0].nonfinite,
        "steps": [
            {
                "step": number,
                "num_micro_batches": len(p.step.micro_batches),
                "rule": p.forward.rule.name if p.forward and p.forward.rule else None,
                "relative_error": p.forward.relative_error if p.forward else None,
                "backward_rule": p.backward.rule.name if p.backward and p.backward.rule else None,
            }
            for number, p in enumerate(steps, 1)
            if p.step is not None
        ],
    }


def _skipped(analysis: Analysis) -> list[dict[str, Any]]:
    """Return the passes that were planned and have not run."""
    recorded = {(p.accumulation_steps, p.loss_kwargs) for p in analysis.passes}
    config = analysis.record.config
    planned = [(k, flag) for k in config.gradient_accumulation_steps for flag in config.loss_kwargs]
    return [_skipped_pass(k, flag) for k, flag in planned if (k, flag) not in recorded]


def _skipped_pass(k: int, flag: Flag) -> dict[str, Any]:
    return {
        "id": f"k{k}-{flag}",
        "accumulation_steps": k,
        "loss_kwargs": flag,
        "status": "skipped",
        "error": None,
        "nonfinite": False,
        "first_step": _NO_FIRST_STEP,
        "objective": None,
        "rule": None,
        "match": _NO_MATCH,
        "steps": [],
        "heldout_loss": None,
    }


def _verdict(analysis: Analysis) -> dict[str, Any]:
    verdict = analysis.verdict
    words = verdict.words
    return {
        "code": verdict.code,
        "codes": list(verdict.codes),
        "severity": verdict.severity,
        "auto_rule": verdict.auto_rule,
        "affects": verdict.affects,
        "better_flag": verdict.better_flag,
        "remaining": verdict.remaining,
        "summary": words.summary,
        "cause": words.cause,
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


def _finite(value: Any) -> Any:
    """Replace what JSON has no number for, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
