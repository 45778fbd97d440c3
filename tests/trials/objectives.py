"""What is trained: right trainings of many kinds, each with its right step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.trials import models, right_steps, trainers
from tests.trials.batches import ALIGNED, Pairs
from tests.trials.building import Build
from tests.trials.objective import (
    IN_PAIRS,
    IN_ROWS,
    NAMED,
    NOT_BY_HEART,
    OWN,
    Objective,
    declare_flag_off,
    traits_of,
)
from tests.trials.objectives_of_heads import OBJECTIVES_OF_HEADS
from tests.trials.objectives_unlabelled import OBJECTIVES_UNLABELLED
from tests.trials.teaching import teacher

SMOOTHING = 0.1
NOISE = 5.0

PADDED = ("rows of unequal length", "prompts masked", "one target a row", "packed", "rows without targets")


def _with_trainer(trainer_class: Any, *, flag_off: bool = False) -> Callable[[Build], object]:
    def plan(build: Build) -> None:
        build.trainer_class = trainer_class
        if flag_off:
            build.on_model.append(declare_flag_off)

    return plan


def _plain(build: Build) -> None:
    """The model's own loss under the Trainer."""


def _with_loss_func(build: Build) -> None:
    build.loss_func = trainers.summed_over_count


def _with_smoothing(build: Build) -> None:
    build.arguments["label_smoothing_factor"] = SMOOTHING


def _warming_up(build: Build) -> None:
    build.model_class = models.WarmsUpForCausalLM


def _routed(trainer_class: Any) -> Callable[[Build], object]:
    def plan(build: Build) -> None:
        build.model_class = models.RoutesForCausalLM
        build.trainer_class = trainer_class

    return plan


class _RouterByArgument(trainers.RouterTrainer):
    """Divides by the configured k."""

    def micro_batches(self) -> int:
        k: int = self.args.gradient_accumulation_steps
        return k


def _distilling(build: Build) -> None:
    build.trainer_class = type("Distils", (trainers.DistillationTrainer,), {"teacher": teacher(build.draw)})


def _pair(build: Build, labels: str = "labels") -> None:
    build.paired = True
    build.arrange = lambda collator: Pairs(collator, labels)


def _preferring(build: Build) -> None:
    build.trainer_class = trainers.PreferenceTrainer
    _pair(build)


def _preferring_without_labels(build: Build) -> None:
    build.trainer_class = trainers.PlainPreferenceTrainer
    _pair(build, trainers.PlainPreferenceTrainer.labels)


def _warming_up_in_a_buffer(build: Build) -> None:
    build.model_class = models.WarmsUpInABufferForCausalLM


def _of_class(model_class: Any) -> Callable[[Build], object]:
    def plan(build: Build) -> None:
        build.model_class = model_class

    return plan


def _remembering(build: Build) -> None:
    build.loss_func = trainers.Remembers()


def _preferring_to_base(build: Build) -> None:
    build.trainer_class = trainers.AdapterPreferenceTrainer
    _pair(build)


def _contrasting(build: Build) -> None:
    build.trainer_class = trainers.ContrastTrainer
    _pair(build)


def _penalising(build: Build) -> None:
    build.model_class = models.PenalisesForCausalLM


def _noisy(build: Build) -> None:
    build.arguments["neftune_noise_alpha"] = NOISE


def _mixture(build: Build) -> None:
    build.trainer_class = trainers.RouterTrainer
    # The Trainer adds it.
    build.on_model.append(lambda model: setattr(model, "router_aux_loss_coef", 0.0))


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "cross-entropy of the model",
            traits_of("cross-entropy, token mean, in the model, flag on, the Trainer's step"),
            _plain,
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy in compute_loss",
            traits_of("cross-entropy, token mean, in compute_loss, flag on, the Trainer's step"),
            _with_trainer(trainers.OwnLossTrainer),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy, training_step of one's own",
            traits_of("cross-entropy, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.OwnStepTrainer),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy in compute_loss_func",
            traits_of("cross-entropy, token mean, in compute_loss_func, flag on, the Trainer's step"),
            _with_loss_func,
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy, count of one's own",
            traits_of("cross-entropy, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.OwnCountTrainer),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy, count kept by the Trainer",
            traits_of("cross-entropy, token mean, in compute_loss, flag on, keeps the count"),
            _with_trainer(trainers.KeptCountTrainer),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy of a model that returns a tuple",
            traits_of("cross-entropy, token mean, in the model, flag on, the Trainer's step"),
            _of_class(models.TupleForCausalLM),
            lambda draw: right_steps.cross_entropy,
            bodies=(OWN,),
        ),
        Objective(
            "cross-entropy of a model that returns no logits",
            traits_of("cross-entropy, token mean, in the model, flag on, the Trainer's step"),
            _of_class(models.FusedForCausalLM),
            lambda draw: right_steps.cross_entropy,
            bodies=(OWN,),
        ),
        Objective(
            "labels shifted by the collator",
            traits_of("aligned by the collator, token mean, in the model, flag on, the Trainer's step"),
            _of_class(models.NextTokenModel),
            lambda draw: right_steps.aligned,
            bodies=(OWN,),
            data=(ALIGNED,),
        ),
        Objective(
            "cross-entropy, told at the end of the step",
            traits_of("told late, token mean, in the model, flag on, the Trainer's step"),
            lambda build: build.mix_trainer(trainers.TellsAtTheEnd),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy, gradients added at the end of the step",
            traits_of("added late, token mean, in the model, flag on, the Trainer's step"),
            lambda build: build.mix_trainer(trainers.AddsAtTheEnd),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "two forwards",
            traits_of("twice, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.TwiceTrainer),
            lambda draw: right_steps.twice,
            bodies=("Llama, attention dropout", "GPT-2, dropout"),
            data=NOT_BY_HEART,
        ),
        Objective(
            "weight by chance",
            traits_of("chance, in compute_loss, flag on"),
            _with_trainer(trainers.ChanceTrainer),
            lambda draw: right_steps.by_chance,
        ),
        Objective(
            "penalty that falls with the steps",
            traits_of("penalty by the step, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.AnnealingTrainer),
            lambda draw: right_steps.annealed(trainers.PenaltyTrainer.penalty),
        ),
        Objective(
            "compute_loss_func that counts its calls",
            traits_of("memory, token mean, in compute_loss_func, flag on"),
            _remembering,
            lambda draw: right_steps.warmed_up(models.PENALTY, models.WARM_UP_CALLS),
            calls_matter=True,
        ),
        Objective(
            "pairs, the reference without the adapter",
            traits_of("pairs, in compute_loss, flag on"),
            _preferring_to_base,
            lambda draw: right_steps.preferred_to_base(trainers.PreferenceTrainer.beta),
            bodies=("Llama under LoRA",),
            data=IN_PAIRS,
        ),
        Objective(
            "cross-entropy with NEFTune",
            traits_of("noise, token mean, in the model, flag on, the Trainer's step"),
            _noisy,
            lambda draw: right_steps.with_noise(NOISE, right_steps.cross_entropy),
            bodies=("Llama", "Llama, tied embeddings", "GPT-2", "Qwen2", OWN),
        ),
        Objective(
            "tokens of unequal weight",
            traits_of("weighted, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.WeightedTrainer),
            lambda draw: right_steps.weighted,
        ),
        Objective(
            "label smoothing",
            traits_of("smoothing, token mean, in the Trainer, flag on, the Trainer's step"),
            _with_smoothing,
            lambda draw: right_steps.smoothed(SMOOTHING),
            bodies=NAMED,
        ),
        Objective(
            "focal loss",
            traits_of("focal, token mean, in compute_loss, flag on, optional count"),
            _with_trainer(trainers.FocalTrainer),
            lambda draw: right_steps.focal,
            data=NOT_BY_HEART,
        ),
        Objective(
            "focal loss, count without a default",
            traits_of("focal, token mean, in compute_loss, flag on, demands the count"),
            _with_trainer(trainers.DemandingFocalTrainer),
            lambda draw: right_steps.focal,
            data=NOT_BY_HEART,
        ),
        Objective(
            "cross-entropy and penalty, token means",
            traits_of("penalty, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.PenaltyTrainer),
            lambda draw: right_steps.with_penalty(trainers.PenaltyTrainer.penalty),
        ),
        Objective(
            "cross-entropy and penalty of the model",
            traits_of("penalty, token mean, in the model, flag on"),
            _penalising,
            lambda draw: right_steps.with_penalty(models.PENALTY),
            bodies=(OWN,),
        ),
        Objective(
            "distillation",
            traits_of("distillation, token mean, in compute_loss, flag on"),
            _distilling,
            lambda draw: right_steps.distilled(teacher(draw), trainers.DistillationTrainer.share),
            data=NOT_BY_HEART,
        ),
        Objective(
            "forward that warms up",
            traits_of("warm-up, token mean, in the model, flag on"),
            _warming_up,
            lambda draw: right_steps.warmed_up(models.PENALTY, models.WARM_UP_CALLS),
            bodies=(OWN,),
            calls_matter=True,
        ),
        Objective(
            "forward that warms up, in a buffer",
            traits_of("warm-up, token mean, in the model, flag on"),
            _warming_up_in_a_buffer,
            lambda draw: right_steps.warmed_up(models.PENALTY, models.WARM_UP_CALLS),
            bodies=(OWN,),
            calls_matter=True,
        ),
        Objective(
            "router loss over k",
            traits_of("router, in the model, flag on"),
            _routed(trainers.RouterTrainer),
            lambda draw: right_steps.balanced(trainers.RouterTrainer.balance, models.EXPERTS),
            bodies=(OWN,),
        ),
        Objective(
            "router loss over the configured k",
            traits_of("router, in the model, flag on, no tail"),
            _routed(_RouterByArgument),
            lambda draw: right_steps.balanced(trainers.RouterTrainer.balance, models.EXPERTS),
            bodies=(OWN,),
        ),
        Objective(
            "router loss of a mixture of experts, over k",
            traits_of("mixture, in the model, flag on"),
            _mixture,
            lambda draw: right_steps.with_auxiliary(trainers.RouterTrainer.balance),
            bodies=("Mixtral",),
            data=PADDED,
        ),
        Objective(
            "labels that need no shift",
            traits_of("aligned, in compute_loss, flag on, the Trainer's step"),
            _with_trainer(trainers.AlignedTrainer),
            lambda draw: right_steps.aligned,
            bodies=("T5", "XLNet"),
            data=PADDED,
        ),
        Objective(
            "rows of a micro-batch told apart",
            traits_of("in-batch, in compute_loss, flag on"),
            _contrasting,
            lambda draw: right_steps.contrasted(trainers.ContrastTrainer.temperature),
            # A row without targets is like any other.
            data=tuple(name for name in IN_ROWS if name != "rows without targets"),
        ),
        Objective(
            "mean over rows, flag off",
            traits_of("rows, in compute_loss, flag off"),
            _with_trainer(trainers.RowMeanTrainer, flag_off=True),
            lambda draw: right_steps.row_mean,
            data=IN_ROWS,
        ),
        Objective(
            "mean over rows, loss_is_scaled_for_ga = False",
            traits_of("rows, in compute_loss, flag on"),
            _with_trainer(trainers.SaidRowMeanTrainer),
            lambda draw: right_steps.row_mean,
            data=IN_ROWS,
        ),
        Objective(
            "loss of whole rows",
            traits_of("rows, in compute_loss, flag on"),
            _with_trainer(trainers.RowLikelihoodTrainer),
            lambda draw: right_steps.row_likelihood(trainers.RowLikelihoodTrainer.threshold),
            data=IN_ROWS,
        ),
        Objective(
            "pairs",
            traits_of("pairs, in compute_loss, flag on"),
            _preferring,
            lambda draw: right_steps.preferred(trainers.PreferenceTrainer.beta),
            data=IN_PAIRS,
        ),
        Objective(
            "pairs, no labels in the inputs",
            traits_of("pairs, in compute_loss, flag on"),
            _preferring_without_labels,
            lambda draw: right_steps.with_labels_named(
                trainers.PlainPreferenceTrainer.labels, right_steps.preferred(trainers.PreferenceTrainer.beta)
            ),
            # What is not called labels is not shifted.
            data=tuple(name for name in IN_PAIRS if name != "shift_labels"),
        ),
        *OBJECTIVES_OF_HEADS,
        *OBJECTIVES_UNLABELLED,
    )
}
