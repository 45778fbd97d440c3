"""Wrong trainings of a plain tiny Llama: with a log that is right, and told wrongly by the rule table alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from transformers import Trainer

from tests.known import bodies, trainers
from tests.known.cases import FLAG_OFF, FLAG_ON, OFF_LEAVES_MEANS, Figures, Wrong, changed, typed, written
from tests.known.parts import AFTER_VIRTUAL_TOKENS, SHIFTED, mean_of_means, token_mean
from tests.known.right import SMOOTHED, SMOOTHING
from tests.known.rows import LABELS, NEXT_TARGETS, TARGETS, UNEQUAL, K
from tests.known.training import Training
from tests.trials.right_steps import smoothed

TIMES_K = Figures(4.0, 4.03, 0.99)
OVER_K = Figures(0.25, 0.25)
DIVIDE = written("loss = loss / self.current_gradient_accumulation_steps", trainers.DividedStep).leaving_means(
    mean_of_means()
)
OFF_LEAVES_SMOOTHED_MEANS = FLAG_OFF.leaving_means(mean_of_means(replace(SHIFTED, smoothing=SMOOTHING)))
HAND_ON = "num_items_in_batch=num_items_in_batch)"

LOG_IS_RIGHT: tuple[Wrong, ...] = (
    Wrong(
        "gradient × 2",
        Training(trainers.DoublesTheGradient),
        Figures(norm=2.0),
        "UNEXPLAINED",
        "gradient",
        ("2 times the norm", "cosine of 1.0"),
        (written("DoublesTheGradient.training_step", Trainer),),
    ),
    Wrong(
        "gradient × −1",
        Training(trainers.TurnsTheGradient),
        Figures(cosine=-1.0),
        "UNEXPLAINED",
        "gradient",
        ("1 times the norm", "cosine of -1.0"),
        (written("TurnsTheGradient.training_step", Trainer),),
    ),
    Wrong(
        "gradient of half the targets",
        Training(trainers.HalfTheTargets),
        Figures(norm=None, cosine=None),
        "UNEXPLAINED",
        "gradient",
        ("times the norm",),
        (written("HalfTheTargets.training_step", trainers.BackwardOnWhatIsReturned),),
    ),
    Wrong(
        "gradients zeroed before every micro-batch",
        Training(trainers.ForgetsTheGradient),
        Figures(norm=0.46, cosine=0.46),
        "UNEXPLAINED",
        "gradient",
        ("times the norm",),
        (written("ForgetsTheGradient.training_step", Trainer),),
    ),
    Wrong(
        "lm_head's gradient × 4",
        Training(trainers.FavoursTheHead),
        Figures(norm=2.38, cosine=0.81),
        "UNEXPLAINED",
        "gradient",
        ("Furthest off: lm_head.weight (by 3 times its norm).",),
        (written("FavoursTheHead.training_step", Trainer),),
    ),
    Wrong(
        "lm_head's gradient × 4, by a hook",
        Training(model=partial(bodies.with_a_hook, 4.0)),
        Figures(norm=2.38, cosine=0.81),
        "UNEXPLAINED",
        "gradient",
        ("lm_head.weight", "A hook can change the gradient of lm_head.weight."),
        (changed("Take the hook off lm_head.weight", model=bodies.llama),),
        reference=bodies.llama,
    ),
    Wrong(
        "num_items_in_batch of the step before",
        Training(trainers.CountsBefore),
        Figures(0.86, NEXT_TARGETS / TARGETS),
        "MISALIGNED_COUNT",
        "both",
        (f"{TARGETS} instead of {NEXT_TARGETS}, as CountsBefore.get_batch_samples counts them",),
        (
            written("Count in CountsBefore.get_batch_samples labels[..., 1:] of the batches", trainers.CountsItsOwn),
            OFF_LEAVES_MEANS,
        ),
        late=True,
    ),
    Wrong(
        "gradient alone × k",
        Training(trainers.TimesKInBackward),
        Figures(norm=4.0),
        "SCALED_BY_ACCUMULATION",
        "gradient",
        ("TimesKInBackward.training_step returns the right loss, and takes the gradient of k times as much.",),
        (written("Call backward in TimesKInBackward.training_step", trainers.BackwardOnWhatIsReturned),),
        other_flag=Figures(4.0, 16.1, 0.99),
    ),
    Wrong(
        "gradient × k of a loss × k",
        Training(trainers.TimesKInBackward, bodies.llama_with_flag_off),
        Figures(4.0, 16.1, 0.99),
        "UNEXPLAINED",
        "both",
        ("4 times the norm of the one that the loss has", "cosine of 1.0"),
        (),
    ),
)

SCALED: tuple[Wrong, ...] = (
    Wrong(
        "training_step without the division",
        Training(trainers.UndividedStep),
        TIMES_K,
        "SCALED_BY_ACCUMULATION",
        "both",
        ("UndividedStep.training_step takes the place of the Trainer's", "does not divide by k, whatever the flag"),
        (
            written(f"self.compute_loss(model, inputs, {HAND_ON}", trainers.BackwardOnWhatIsReturned),
            DIVIDE,
        ),
        other_flag=TIMES_K,
    ),
    Wrong(
        "training_step without the division, of a model that drops the count",
        Training(trainers.BackwardOnWhatIsReturned, partial(bodies.llama, trainers.DropsTheCountForCausalLM)),
        TIMES_K,
        "SCALED_BY_ACCUMULATION",
        "both",
        ("BackwardOnWhatIsReturned.training_step takes the place", "does not divide by k, whatever the flag"),
        (DIVIDE,),
        other_flag=TIMES_K,
    ),
    Wrong(
        "loss_is_scaled_for_ga = True over a mean of one's own",
        Training(trainers.SaysThatAMeanIsScaled),
        TIMES_K,
        "SCALED_BY_ACCUMULATION",
        "both",
        (
            "SaysThatAMeanIsScaled.loss_is_scaled_for_ga = True tells the Trainer",
            "whatever the flag",
            "OwnMean.compute_loss returns a mean per micro-batch",
        ),
        (
            written("Return from OwnMean.compute_loss", trainers.SaysThatASumOverTheCountIsScaled),
            typed("SaysThatAMeanIsScaled.loss_is_scaled_for_ga = False").leaving_means(mean_of_means()),
        ),
        other_flag=TIMES_K,
    ),
    Wrong(
        "loss_is_scaled_for_ga = True, flag off",
        Training(trainers.SaysThatItIsScaled, bodies.llama_with_flag_off),
        TIMES_K,
        "SCALED_BY_ACCUMULATION",
        "both",
        ("SaysThatItIsScaled.loss_is_scaled_for_ga = True",),
        (FLAG_ON,),
        other_flag=Figures(),
    ),
    Wrong(
        "compute_loss × k",
        Training(trainers.TimesK),
        Figures(4.0, 4.0),
        "SCALED_BY_ACCUMULATION",
        "both",
        ("TimesK.compute_loss multiplies by k itself",),
        (written("Take the factor k out of TimesK.compute_loss.", trainers.HandsTheCountOn),),
    ),
    Wrong(
        "compute_loss that does not pass the count on",
        Training(trainers.DropsTheCount),
        TIMES_K,
        "SCALED_BY_ACCUMULATION",
        "both",
        ("num_items_in_batch to DropsTheCount.compute_loss", "does not hand it on", "does not divide by k"),
        (
            written(
                f"super().compute_loss(model, inputs, return_outputs, {HAND_ON}",
                trainers.HandsTheCountOn,
            ),
            OFF_LEAVES_MEANS,
        ),
    ),
    Wrong(
        "mean of one's own",
        Training(trainers.OwnMean),
        TIMES_K,
        "SCALED_BY_ACCUMULATION",
        "both",
        ("num_items_in_batch to OwnMean.compute_loss", "OwnMean.compute_loss drops it"),
        (
            written(
                "Return from OwnMean.compute_loss the summed loss / num_items_in_batch", trainers.OwnSumOverTheCount
            ),
            OFF_LEAVES_MEANS,
        ),
    ),
    Wrong(
        "model that drops the count",
        Training(model=partial(bodies.llama, trainers.DropsTheCountForCausalLM)),
        TIMES_K,
        "SCALED_BY_ACCUMULATION",
        "both",
        ("the model drops it and takes a mean per micro-batch",),
        (OFF_LEAVES_MEANS,),
    ),
    Wrong(
        "label smoothing × k",
        Training(trainers.TimesK, arguments=SMOOTHED),
        Figures(4.0, 4.0),
        "SCALED_BY_ACCUMULATION",
        "both",
        ("TimesK.compute_loss multiplies by k itself",),
        (written("Take the factor k out of TimesK.compute_loss.", trainers.HandsTheCountOn),),
        part=smoothed(SMOOTHING),
    ),
    Wrong(
        "label smoothing, the count not passed on",
        Training(trainers.DropsTheCount, arguments=SMOOTHED),
        TIMES_K,
        "SCALED_BY_ACCUMULATION",
        "both",
        ("DropsTheCount.compute_loss", "does not hand it on"),
        (
            written(f"super().compute_loss(model, inputs, return_outputs, {HAND_ON}", trainers.HandsTheCountOn),
            OFF_LEAVES_SMOOTHED_MEANS,
        ),
        part=smoothed(SMOOTHING),
    ),
    Wrong(
        "label smoothing / k",
        Training(trainers.OverK, arguments=SMOOTHED),
        OVER_K,
        "DIVIDED_TWICE",
        "both",
        ("once more by k", "OverK.compute_loss"),
        (written("Take the division by k out of OverK.compute_loss", trainers.HandsTheCountOn),),
        part=smoothed(SMOOTHING),
    ),
    Wrong(
        "label smoothing / k, as loss_is_scaled_for_ga = False has it",
        Training(trainers.SaysThatOneIsNotScaled, arguments=SMOOTHED),
        OVER_K,
        "DIVIDED_TWICE",
        "both",
        ("once more by k", "SaysThatOneIsNotScaled.loss_is_scaled_for_ga = False"),
        (typed("SaysThatOneIsNotScaled.loss_is_scaled_for_ga = True"), OFF_LEAVES_SMOOTHED_MEANS),
        part=smoothed(SMOOTHING),
    ),
)

MISCOUNTED: tuple[Wrong, ...] = (
    Wrong(
        "plain sum",
        Training(trainers.OwnSum),
        Figures(TARGETS, TARGETS),
        "NOT_NORMALISED",
        "both",
        ("OwnSum.compute_loss returns the sum of the losses",),
        (written("Return from OwnSum.compute_loss the sum / num_items_in_batch", trainers.OwnSumOverTheCount),),
        other_flag=Figures(TARGETS / K, TARGETS / K),
    ),
    Wrong(
        "plain sum of a compute_loss_func",
        Training(loss_func=trainers.sum_of_outputs),
        Figures(TARGETS, TARGETS),
        "NOT_NORMALISED",
        "both",
        ("sum_of_outputs returns the sum of the losses (trainers.py:",),
        (changed("sum_of_outputs the sum / num_items_in_batch", loss_func=trainers.sum_over_the_count),),
        pending="the line that is named is the one where the Trainer multiplies by the number of processes in place",
    ),
    Wrong(
        "PEFT prompt tuning",
        Training(model=bodies.prompt_tuned),
        Figures(LABELS / TARGETS, LABELS / TARGETS),
        "MISALIGNED_COUNT",
        "both",
        (f"{TARGETS} instead of {LABELS}", "first label of each row"),
        (
            changed(
                "-100",
                rows=tuple({**row, "labels": [-100, *row["labels"][1:]]} for row in UNEQUAL),
            ),
            FLAG_OFF.leaving_means(mean_of_means(AFTER_VIRTUAL_TOKENS)),
        ),
        part=token_mean(AFTER_VIRTUAL_TOKENS),
    ),
)

WRONG = (*LOG_IS_RIGHT, *SCALED, *MISCOUNTED)
