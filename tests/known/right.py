"""Right trainings that are easily accused."""

from __future__ import annotations

from tests.known import bodies, rows, trainers
from tests.known.cases import Right
from tests.known.parts import token_mean
from tests.known.training import Training
from tests.trials import models, right_steps
from tests.trials.batches import Pads, Pairs
from tests.trials.trainers import DemandingFocalTrainer, PreferenceTrainer, RowMeanTrainer, SaidRowMeanTrainer
from tests.trials.truth import BOUNDS

SMOOTHING = 0.1
SMOOTHED = {"label_smoothing_factor": SMOOTHING}
_PREFERRED = right_steps.preferred(PreferenceTrainer.beta)
_PAIRED = Training(PreferenceTrainer, rows=rows.PAIRS, collator=Pairs())

RIGHT: tuple[Right, ...] = (
    Right("plain", Training()),
    Right(
        "focal loss over the count, for which there is no default",
        Training(DemandingFocalTrainer),
        right_steps.focal,
        "OTHER_OBJECTIVE",
    ),
    Right(
        "mean over rows, flag off",
        Training(RowMeanTrainer, bodies.llama_with_flag_off),
        right_steps.row_mean,
        "OTHER_OBJECTIVE",
    ),
    Right(
        "mean over rows, loss_is_scaled_for_ga = False",
        Training(SaidRowMeanTrainer),
        right_steps.row_mean,
        "OTHER_OBJECTIVE",
    ),
    Right(
        "mean over pairs, flag off",
        Training(trainers.Pairs, bodies.llama_with_flag_off, rows.PAIRS, Pairs()),
        _PREFERRED,
        "OTHER_OBJECTIVE",
    ),
    Right("mean over pairs, loss_is_scaled_for_ga = False", _PAIRED, _PREFERRED, "OTHER_OBJECTIVE"),
    Right("knows its rows by heart", Training(model=bodies.llama_by_heart, rows=rows.BY_HEART), most_nats=0.01),
    Right("one answer token a row", Training(rows=rows.ONE_ANSWER)),
    Right(
        "forward that counts its calls and warms up",
        Training(model=bodies.warming_up),
        right_steps.warmed_up(models.PENALTY, models.WARM_UP_CALLS),
        "OTHER_OBJECTIVE",
        calls_matter=True,
    ),
    Right(
        "label smoothing on packed rows",
        Training(rows=rows.PACKED, arguments=SMOOTHED),
        right_steps.smoothed(SMOOTHING),
        "OTHER_OBJECTIVE",
    ),
    Right("4-d attention mask", Training(collator=Pads(square=True))),
    Right("float64 weights", Training(model=bodies.llama_in_float64), bounds=BOUNDS["float64 weights"]),
    Right("under LoRA", Training(model=bodies.under_lora)),
    Right("image in front of its tokens", Training(model=bodies.llama_that_sees), token_mean()),
    Right("image-text class fed text alone", Training(model=bodies.mistral3)),
)
