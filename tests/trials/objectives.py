"""What is trained: right trainings of many kinds, each with its right step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.trials import models, right_steps, trainers
from tests.trials.batches import DATA
from tests.trials.building import BODIES, CLASSES, Build, make_model
from tests.trials.draw import Draw
from tests.trials.right_steps import RightPart

SMOOTHING = 0.1
TEACHER_SEED = 10_007

LLAMAS = tuple(name for name in BODIES if name.startswith("Llama"))
OWN = "class of one's own"
# The Trainer shifts labels for smoothing only where it knows the class by name.
NAMED = (*LLAMAS, "GPT-2", "GPT-2, dropout")
ANY = tuple(BODIES)
HEART = "known by heart"
# Where nothing is left to learn, a focal loss vanishes in rounding, and distillation learns from another teacher.
NOT_BY_HEART = tuple(name for name in DATA if name != HEART)


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
    data: tuple[str, ...] = tuple(DATA)
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
            "mean over rows, flag off",
            _traits("rows, in compute_loss, flag off"),
            _with_trainer(trainers.RowMeanTrainer, flag_off=True),
            lambda draw: right_steps.row_mean,
        ),
        Objective(
            "mean over rows, loss_is_scaled_for_ga = False",
            _traits("rows, in compute_loss, flag on"),
            _with_trainer(trainers.SaidRowMeanTrainer),
            lambda draw: right_steps.row_mean,
        ),
        Objective(
            "loss of whole rows",
            _traits("rows, in compute_loss, flag on"),
            _with_trainer(trainers.RowLikelihoodTrainer),
            lambda draw: right_steps.row_likelihood(trainers.RowLikelihoodTrainer.threshold),
        ),
        Objective(
            "pairs",
            _traits("pairs, in compute_loss, flag on"),
            _preferring,
            lambda draw: right_steps.preferred(trainers.PreferenceTrainer.beta),
        ),
    )
}
