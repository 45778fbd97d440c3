"""The same trainings as a run measures them: classes by their import path, on text of its own."""

from __future__ import annotations

from typing import Any

import pytest

from gacheck.measure.experiment import measure_auto
from gacheck.measure.session import Session
from gacheck.words.analysis import Analysis, analyse
from tests.measure.modelling import small_config

WRITTEN = "tests.known.trainers"


def judged(num_steps: int = 1, **options: Any) -> Analysis:
    """Run k = 1 and 4 as the Trainer has it, and the same with the other value of the flag where that is not fine."""
    config = small_config(max_steps=num_steps, **options)
    record = measure_auto(config, Session(config))
    return analyse(record.model_copy(update={"command": ("gacheck", "run")}))


@pytest.mark.parametrize(
    ("trainer_class", "code"),
    [
        ("transformers:Trainer", "OK"),
        (f"{WRITTEN}:BackwardOnWhatIsReturned", "OK"),
        ("tests.trials.trainers:DemandingFocalTrainer", "OTHER_OBJECTIVE"),
        ("tests.trials.trainers:SaidRowMeanTrainer", "OTHER_OBJECTIVE"),
    ],
)
def test_a_right_trainer_is_ok(trainer_class: str, code: str) -> None:
    analysis = judged(trainer_class=trainer_class)

    assert analysis.ok
    assert analysis.verdict.code == code


def test_a_model_that_nearly_knows_its_rows_is_not_accused() -> None:
    analysis = judged(model_class=f"{WRITTEN}:KnowsByHeartForCausalLM")

    assert analysis.passes[0].reference_loss is not None
    assert analysis.passes[0].reference_loss < 0.01
    assert analysis.ok


@pytest.mark.parametrize(
    ("options", "code", "affects", "cause", "fix"),
    [
        pytest.param(
            {"trainer_class": f"{WRITTEN}:FavoursTheHead"},
            "UNEXPLAINED",
            "gradient",
            "Furthest off: lm_head.weight (by 3 times its norm).",
            "Look in FavoursTheHead.training_step",
            id="FavoursTheHead",
        ),
        pytest.param(
            {"trainer_class": f"{WRITTEN}:TimesKInBackward"},
            "SCALED_BY_ACCUMULATION",
            "gradient",
            "TimesKInBackward.training_step returns the right loss",
            "Call backward in TimesKInBackward.training_step",
            id="TimesKInBackward",
        ),
        pytest.param(
            {"trainer_class": f"{WRITTEN}:UndividedStep"},
            "SCALED_BY_ACCUMULATION",
            "both",
            "It does not hand num_items_in_batch on and does not divide by k, whatever the flag",
            "Hand the count on in UndividedStep.training_step:  self.compute_loss(",
            id="UndividedStep",
        ),
        pytest.param(
            {"trainer_class": f"{WRITTEN}:DropsTheCount"},
            "SCALED_BY_ACCUMULATION",
            "both",
            "DropsTheCount.compute_loss does not hand it on",
            "Hand it on in DropsTheCount.compute_loss:  super().compute_loss(",
            id="DropsTheCount",
        ),
        pytest.param(
            {"model_class": f"{WRITTEN}:DropsTheCountForCausalLM"},
            "SCALED_BY_ACCUMULATION",
            "both",
            "the model drops it and takes a mean per micro-batch",
            "trainer.model_accepts_loss_kwargs = False",
            id="DropsTheCountForCausalLM",
        ),
        pytest.param(
            {"compute_loss_func": f"{WRITTEN}:sum_of_outputs"},
            "NOT_NORMALISED",
            "both",
            "sum_of_outputs returns the sum of the losses",
            f"Return from {WRITTEN}:sum_of_outputs the sum / num_items_in_batch",
            id="sum_of_outputs",
        ),
        pytest.param(
            {"trainer_class": f"{WRITTEN}:TimesK", "label_smoothing_factor": 0.1},
            "SCALED_BY_ACCUMULATION",
            "both",
            "TimesK.compute_loss multiplies by k itself",
            "Take the factor k out of TimesK.compute_loss.",
            id="TimesK",
        ),
        pytest.param(
            {"trainer_class": f"{WRITTEN}:CountsBefore", "num_steps": 2},
            "MISALIGNED_COUNT",
            "both",
            "as CountsBefore.get_batch_samples counts them",
            "Count in CountsBefore.get_batch_samples",
            id="CountsBefore",
        ),
    ],
)
def test_a_wrong_one_fails(options: dict[str, Any], code: str, affects: str, cause: str, fix: str) -> None:
    verdict = judged(**options).verdict

    assert (verdict.code, verdict.severity, verdict.affects) == (code, "fail", affects)
    assert cause in verdict.words.cause
    assert verdict.words.fix.startswith(fix)
