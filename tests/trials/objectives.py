"""What is trained: right trainings of many kinds, each with its right step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.trials import models, right_steps, trainers
from tests.trials.batches import ALIGNED, CLASSIFIED, DATA, FLATTENED, MASKED
from tests.trials.building import BODIES, CLASSES, Build, make_model
from tests.trials.draw import Draw
from tests.trials.right_steps import RightPart

SMOOTHING = 0.1
NOISE = 5.0
TEACHER_SEED = 10_007

LLAMAS = tuple(name for name in BODIES if name.startswith("Llama") and name != "Llama for classification")
OWN = "class of one's own"
# The Trainer shifts labels for smoothing only where it knows the class by name.
NAMED = (*LLAMAS, "GPT-2", "GPT-2, dropout", "Qwen2", "Gemma3")
ANY = (*NAMED, OWN, "recurrent network")
HEART = "known by heart"
# Where nothing is left to learn, a focal loss vanishes in rounding, and distillation learns from another teacher.
ALL_DATA = tuple(name for name in DATA if name not in (MASKED, CLASSIFIED, ALIGNED))
NOT_BY_HEART = tuple(name for name in ALL_DATA if name != HEART)
IN_ROWS = tuple(name for name in ALL_DATA if name != FLATTENED)
# Of rows known by heart it is a difference of large numbers, whose rounding no reference shares.
IN_PAIRS = tuple(name for name in IN_ROWS if name != HEART)
PADDED = ("rows of unequal length", "prompts masked", "one target a row", "packed", "rows without targets")


@dataclass(frozen=True)
class Objective:
    """A right training of one kind.

    Attributes:
        name: For the tables.
        traits: What a fault may ask for: the kind of loss, where it is computed, whether the flag is on.
        plan: Fills in what the Trainer is made of.
        part: Makes the right step's part of a micro-batch.
        bodies: Models that it goes with.
        data: Data that it goes with.
        calls_matter: The model counts its forwards.
    """

    name: str
    traits: frozenset[str]
    plan: Callable[[Build], object]
    part: Callable[[Draw], RightPart]
    bodies: tuple[str, ...] = ANY
    data: tuple[str, ...] = ALL_DATA
    calls_matter: bool = False

    def build(self, draw: Draw) -> Build:
        """Return what a right Trainer is made of."""
        build = Build(draw)
        build.model_class = CLASSES[draw.body]
        self.plan(build)
        return build


def _traits(words: str) -> frozenset[str]:
    return frozenset(words.split(", "))


def _with_trainer(trainer_class: Any, *, flag_off: bool = False) -> Callable[[Build], object]:
    def plan(build: Build) -> None:
        build.trainer_class = trainer_class
        if flag_off:
            build.on_model.append(declare_flag_off)

    return plan


def declare_flag_off(model: Any) -> None:
    """Declare that the model does not take the count."""
    getattr(model, "get_base_model", lambda: model)().accepts_loss_kwargs = False


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


def teacher(draw: Draw) -> Any:
    """Make the teacher of a student: the plain Llama, with weights of its own."""
    return make_model(Build(_teachers_draw(draw), model_class=CLASSES["Llama"])).eval()


def _teachers_draw(draw: Draw) -> Draw:
    return Draw(
        seed=draw.seed + TEACHER_SEED,
        objective=draw.objective,
        fault=None,
        body="Llama",
        data="packed",
        precision=draw.precision,
        door=draw.door,
        k=1,
        rows=1,
        tail=1,
        vocabulary=draw.vocabulary,
        spread=0.3,
    )


def _distilling(build: Build) -> None:
    build.trainer_class = type("Distils", (trainers.DistillationTrainer,), {"teacher": teacher(build.draw)})


def _preferring(build: Build) -> None:
    build.trainer_class = trainers.PreferenceTrainer
    build.paired = True


def _classifying(build: Build) -> None:
    build.on_model.append(declare_flag_off)


def _preferring_without_labels(build: Build) -> None:
    build.trainer_class = trainers.PlainPreferenceTrainer
    build.paired = True
    build.labels = trainers.PlainPreferenceTrainer.labels


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
    build.paired = True


def _contrasting(build: Build) -> None:
    build.trainer_class = trainers.ContrastTrainer
    build.paired = True


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
            _traits("cross-entropy, token mean, in the model, flag on, the Trainer's step"),
            _plain,
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy in compute_loss",
            _traits("cross-entropy, token mean, in compute_loss, flag on, the Trainer's step"),
            _with_trainer(trainers.OwnLossTrainer),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy, training_step of one's own",
            _traits("cross-entropy, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.OwnStepTrainer),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy in compute_loss_func",
            _traits("cross-entropy, token mean, in compute_loss_func, flag on, the Trainer's step"),
            _with_loss_func,
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy, count of one's own",
            _traits("cross-entropy, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.OwnCountTrainer),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy, count kept by the Trainer",
            _traits("cross-entropy, token mean, in compute_loss, flag on, keeps the count"),
            _with_trainer(trainers.KeptCountTrainer),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy of a model that returns a tuple",
            _traits("cross-entropy, token mean, in the model, flag on, the Trainer's step"),
            _of_class(models.TupleForCausalLM),
            lambda draw: right_steps.cross_entropy,
            bodies=(OWN,),
        ),
        Objective(
            "cross-entropy of a model that returns no logits",
            _traits("cross-entropy, token mean, in the model, flag on, the Trainer's step"),
            _of_class(models.FusedForCausalLM),
            lambda draw: right_steps.cross_entropy,
            bodies=(OWN,),
        ),
        Objective(
            "labels shifted by the collator",
            _traits("aligned by the collator, token mean, in the model, flag on, the Trainer's step"),
            _of_class(models.NextTokenModel),
            lambda draw: right_steps.aligned,
            bodies=(OWN,),
            data=(ALIGNED,),
        ),
        Objective(
            "cross-entropy, told at the end of the step",
            _traits("told late, token mean, in the model, flag on, the Trainer's step"),
            lambda build: build.mix_trainer(trainers.TellsAtTheEnd),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "cross-entropy, gradients added at the end of the step",
            _traits("added late, token mean, in the model, flag on, the Trainer's step"),
            lambda build: build.mix_trainer(trainers.AddsAtTheEnd),
            lambda draw: right_steps.cross_entropy,
        ),
        Objective(
            "two forwards",
            _traits("twice, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.TwiceTrainer),
            lambda draw: right_steps.twice,
            bodies=("Llama, attention dropout", "GPT-2, dropout"),
            data=NOT_BY_HEART,
        ),
        Objective(
            "weight by chance",
            _traits("chance, in compute_loss, flag on"),
            _with_trainer(trainers.ChanceTrainer),
            lambda draw: right_steps.by_chance,
        ),
        Objective(
            "penalty that falls with the steps",
            _traits("penalty by the step, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.AnnealingTrainer),
            lambda draw: right_steps.annealed(trainers.PenaltyTrainer.penalty),
        ),
        Objective(
            "compute_loss_func that counts its calls",
            _traits("memory, token mean, in compute_loss_func, flag on"),
            _remembering,
            lambda draw: right_steps.warmed_up(models.PENALTY, models.WARM_UP_CALLS),
            calls_matter=True,
        ),
        Objective(
            "pairs, the reference without the adapter",
            _traits("pairs, in compute_loss, flag on"),
            _preferring_to_base,
            lambda draw: right_steps.preferred_to_base(trainers.PreferenceTrainer.beta),
            bodies=("Llama under LoRA",),
            data=IN_PAIRS,
        ),
        Objective(
            "cross-entropy with NEFTune",
            _traits("noise, token mean, in the model, flag on, the Trainer's step"),
            _noisy,
            lambda draw: right_steps.with_noise(NOISE, right_steps.cross_entropy),
            bodies=("Llama", "Llama, tied embeddings", "GPT-2", "Qwen2", OWN),
        ),
        Objective(
            "tokens of unequal weight",
            _traits("weighted, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.WeightedTrainer),
            lambda draw: right_steps.weighted,
        ),
        Objective(
            "label smoothing",
            _traits("smoothing, token mean, in the Trainer, flag on, the Trainer's step"),
            _with_smoothing,
            lambda draw: right_steps.smoothed(SMOOTHING),
            bodies=NAMED,
        ),
        Objective(
            "focal loss",
            _traits("focal, token mean, in compute_loss, flag on, optional count"),
            _with_trainer(trainers.FocalTrainer),
            lambda draw: right_steps.focal,
            data=NOT_BY_HEART,
        ),
        Objective(
            "focal loss, count without a default",
            _traits("focal, token mean, in compute_loss, flag on, demands the count"),
            _with_trainer(trainers.DemandingFocalTrainer),
            lambda draw: right_steps.focal,
            data=NOT_BY_HEART,
        ),
        Objective(
            "cross-entropy and penalty, token means",
            _traits("penalty, token mean, in compute_loss, flag on"),
            _with_trainer(trainers.PenaltyTrainer),
            lambda draw: right_steps.with_penalty(trainers.PenaltyTrainer.penalty),
        ),
        Objective(
            "cross-entropy and penalty of the model",
            _traits("penalty, token mean, in the model, flag on"),
            _penalising,
            lambda draw: right_steps.with_penalty(models.PENALTY),
            bodies=(OWN,),
        ),
        Objective(
            "distillation",
            _traits("distillation, token mean, in compute_loss, flag on"),
            _distilling,
            lambda draw: right_steps.distilled(teacher(draw), trainers.DistillationTrainer.share),
            data=NOT_BY_HEART,
        ),
        Objective(
            "forward that warms up",
            _traits("warm-up, token mean, in the model, flag on"),
            _warming_up,
            lambda draw: right_steps.warmed_up(models.PENALTY, models.WARM_UP_CALLS),
            bodies=(OWN,),
            calls_matter=True,
        ),
        Objective(
            "forward that warms up, in a buffer",
            _traits("warm-up, token mean, in the model, flag on"),
            _warming_up_in_a_buffer,
            lambda draw: right_steps.warmed_up(models.PENALTY, models.WARM_UP_CALLS),
            bodies=(OWN,),
            calls_matter=True,
        ),
        Objective(
            "router loss over k",
            _traits("router, in the model, flag on"),
            _routed(trainers.RouterTrainer),
            lambda draw: right_steps.balanced(trainers.RouterTrainer.balance, models.EXPERTS),
            bodies=(OWN,),
        ),
        Objective(
            "router loss over the configured k",
            _traits("router, in the model, flag on, no tail"),
            _routed(_RouterByArgument),
            lambda draw: right_steps.balanced(trainers.RouterTrainer.balance, models.EXPERTS),
            bodies=(OWN,),
        ),
        Objective(
            "router loss of a mixture of experts, over k",
            _traits("mixture, in the model, flag on"),
            _mixture,
            lambda draw: right_steps.with_auxiliary(trainers.RouterTrainer.balance),
            bodies=("Mixtral",),
            data=PADDED,
        ),
        Objective(
            "masked tokens",
            _traits("masked, in the model, flag on, the Trainer's step"),
            _plain,
            lambda draw: right_steps.aligned,
            bodies=("ModernBERT",),
            data=(MASKED,),
        ),
        Objective(
            "labels that need no shift",
            _traits("aligned, in compute_loss, flag on, the Trainer's step"),
            _with_trainer(trainers.AlignedTrainer),
            lambda draw: right_steps.aligned,
            bodies=("T5", "XLNet"),
            data=PADDED,
        ),
        Objective(
            "class of a row, flag off",
            _traits("classes, in the model, flag off"),
            _classifying,
            lambda draw: right_steps.classified,
            bodies=("Llama for classification",),
            data=(CLASSIFIED,),
        ),
        Objective(
            "rows of a micro-batch told apart",
            _traits("in-batch, in compute_loss, flag on"),
            _contrasting,
            lambda draw: right_steps.contrasted(trainers.ContrastTrainer.temperature),
            # A row without targets is like any other.
            data=tuple(name for name in IN_ROWS if name != "rows without targets"),
        ),
        Objective(
            "mean over rows, flag off",
            _traits("rows, in compute_loss, flag off"),
            _with_trainer(trainers.RowMeanTrainer, flag_off=True),
            lambda draw: right_steps.row_mean,
            data=IN_ROWS,
        ),
        Objective(
            "mean over rows, loss_is_scaled_for_ga = False",
            _traits("rows, in compute_loss, flag on"),
            _with_trainer(trainers.SaidRowMeanTrainer),
            lambda draw: right_steps.row_mean,
            data=IN_ROWS,
        ),
        Objective(
            "loss of whole rows",
            _traits("rows, in compute_loss, flag on"),
            _with_trainer(trainers.RowLikelihoodTrainer),
            lambda draw: right_steps.row_likelihood(trainers.RowLikelihoodTrainer.threshold),
            data=IN_ROWS,
        ),
        Objective(
            "pairs",
            _traits("pairs, in compute_loss, flag on"),
            _preferring,
            lambda draw: right_steps.preferred(trainers.PreferenceTrainer.beta),
            data=IN_PAIRS,
        ),
        Objective(
            "pairs, no labels in the inputs",
            _traits("pairs, in compute_loss, flag on"),
            _preferring_without_labels,
            lambda draw: right_steps.with_labels_named(
                trainers.PlainPreferenceTrainer.labels, right_steps.preferred(trainers.PreferenceTrainer.beta)
            ),
            # What is not called labels is not shifted.
            data=tuple(name for name in IN_PAIRS if name != "shift_labels"),
        ),
    )
}
