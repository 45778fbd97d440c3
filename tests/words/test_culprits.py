"""Who did it, and what to change there: read from what overrides the Trainer, and never more than was read."""

from __future__ import annotations

import re

import pytest

from gacheck.words.analysis import Verdict, analyse
from tests.words.cases import CULPRITS

FLAG_OFF = "trainer.model_accepts_loss_kwargs = False   # before trainer.train()"
FLAG_ON = FLAG_OFF.replace("False", "True")
HAND_ON = "num_items_in_batch=num_items_in_batch)"
STILL = "Still wrong after that: short micro-batches weigh too much."


def verdict_of(name: str) -> Verdict:
    return analyse(CULPRITS[name]()).verdict


@pytest.mark.parametrize(
    ("name", "code", "cause", "fix"),
    [
        (
            "own step",
            "SCALED_BY_ACCUMULATION",
            "MyTrainer.training_step takes the place of the Trainer's and does not divide by k, whatever the flag",
            "loss = loss / self.current_gradient_accumulation_steps   # in MyTrainer.training_step, before backward\n",
        ),
        ("own step, older", "SCALED_BY_ACCUMULATION", "training_step", "loss = loss / self.args.gradient_accumulation"),
        (
            "own step that drops the count",
            "SCALED_BY_ACCUMULATION",
            "does not hand num_items_in_batch on and does not divide by k",
            f"Hand the count on in MyTrainer.training_step:  self.compute_loss(model, inputs, {HAND_ON}",
        ),
        (
            "own step, times k",
            "SCALED_BY_ACCUMULATION",
            "what comes out is k times the right loss, whatever the flag",
            "Take the factor k out of MyTrainer.training_step.",
        ),
        (
            "own loss, times k",
            "SCALED_BY_ACCUMULATION",
            "MyTrainer.compute_loss multiplies by k itself",
            "Take the factor k out of MyTrainer.compute_loss.",
        ),
        (
            "own step and own mean, other value not tried",
            "SCALED_BY_ACCUMULATION",
            "MyTrainer.compute_loss drops it and takes a mean per micro-batch",
            "Return from MyTrainer.compute_loss the summed loss / num_items_in_batch",
        ),
        (
            "own step, other value not tried",
            "SCALED_BY_ACCUMULATION",
            "MyTrainer.training_step takes the place of the Trainer's and does not divide by k: each",
            "loss = loss / self.args.gradient_accumulation_steps   # in MyTrainer.training_step",
        ),
        (
            "said to be scaled",
            "SCALED_BY_ACCUMULATION",
            "MyTrainer.loss_is_scaled_for_ga = True tells the Trainer",
            "Return from MyTrainer.compute_loss the summed loss / num_items_in_batch, divided by nothing else.\n"
            "Or try  MyTrainer.loss_is_scaled_for_ga = False:",
        ),
        (
            "said to be scaled, by nobody's class",
            "SCALED_BY_ACCUMULATION",
            "the model returns a mean per micro-batch (modeling_tiny.py:42)",
            "Try  trainer.loss_is_scaled_for_ga = False:",
        ),
        (
            "drops the count and calls on",
            "SCALED_BY_ACCUMULATION",
            "MyTrainer.compute_loss does not hand it on, so the model takes a mean",
            f"Hand it on in MyTrainer.compute_loss:  super().compute_loss(model, inputs, return_outputs, {HAND_ON}\n"
            f"Or  {FLAG_OFF}\nTried above (flag off): 5.255 at k=8. {STILL}",
        ),
        (
            "drops the count, asks the model",
            "SCALED_BY_ACCUMULATION",
            "so the model takes a mean",
            f"Hand it on in MyTrainer.compute_loss:  model(**inputs, {HAND_ON}\n",
        ),
        (
            "own mean",
            "SCALED_BY_ACCUMULATION",
            "MyTrainer.compute_loss drops it and takes a mean per micro-batch (train.py:7)",
            "Return from MyTrainer.compute_loss the summed loss / num_items_in_batch, divided by nothing else.\nOr  ",
        ),
        (
            "own function",
            "SCALED_BY_ACCUMULATION",
            "whatever the flag; my_loss:batch_mean returns a mean per micro-batch",
            "Return from my_loss:batch_mean the sum of the losses / num_items_in_batch.",
        ),
        ("label smoother", "SCALED_BY_ACCUMULATION", "label smoother takes a mean", "Upgrade transformers to 5.24.0 "),
        (
            "own model",
            "SCALED_BY_ACCUMULATION",
            "the model drops it and takes a mean per micro-batch (train.py:7)",
            "Return from Mine.forward the summed loss / num_items_in_batch, where that is given.\nOr  ",
        ),
        (
            "flag off, nobody divides",
            "SCALED_BY_ACCUMULATION",
            "With the flag off nobody divides",
            "Upgrade transformers to 4.48 or later",
        ),
        (
            "gradient alone, own step",
            "SCALED_BY_ACCUMULATION",
            "MyTrainer.training_step returns the right loss, and takes the gradient of k times as much",
            "Call backward in MyTrainer.training_step on the loss that it returns.",
        ),
        (
            "gradient alone, 4.46.3",
            "SCALED_BY_ACCUMULATION",
            "The Trainer divides by k the loss that it logs, and not",
            "Upgrade transformers to 4.48 or later, which divides before backward.",
        ),
        ("gradient alone", "SCALED_BY_ACCUMULATION", "the gradient is that of k times as much", "The other value"),
        (
            "log alone, own step",
            "SCALED_BY_ACCUMULATION",
            "MyTrainer.training_step returns k times the loss whose gradient it takes",
            "Return from MyTrainer.training_step the loss on which it calls backward.",
        ),
        ("attached", "SCALED_BY_ACCUMULATION", "the model drops it", f"Try  {FLAG_OFF}\nIt was not tried here: attach"),
        ("in code", "SCALED_BY_ACCUMULATION", "the model drops it", f"Try  {FLAG_OFF}\nIt was not tried here: run it"),
        (
            "attached, tried",
            "SCALED_BY_ACCUMULATION",
            "the model drops it",
            f"{FLAG_OFF}\nTried on the same micro-batches (flag off): 5.333. {STILL}",
        ),
        (
            "divided twice, said so",
            "DIVIDED_TWICE",
            "once more by k: MyTrainer.loss_is_scaled_for_ga = False tells the Trainer to",
            "Try  MyTrainer.loss_is_scaled_for_ga = True:",
        ),
        (
            "divided twice, own step",
            "DIVIDED_TWICE",
            "in MyTrainer.training_step, whatever the flag",
            "Take the division",
        ),
        ("divided twice, flag off", "DIVIDED_TWICE", "once more by k.", f"Try  {FLAG_ON}"),
        ("sum, own function", "NOT_NORMALISED", "my_loss:total returns the sum", "Return from my_loss:total the sum /"),
        (
            "sum, own loss",
            "NOT_NORMALISED",
            "MyTrainer.compute_loss returns the sum",
            "Return from MyTrainer.compute_l",
        ),
        ("sum, own model", "NOT_NORMALISED", "Mine.forward returns the sum", "Return from Mine.forward the sum /"),
        ("sum, nobody's", "NOT_NORMALISED", "The loss is a sum (modeling_tiny.py:42)", "No value of the flag fixes it"),
        (
            "router",
            "AUX_LOSS_SCALED",
            "the auxiliary loss by nothing",
            "Divide what the model adds (modeling_tiny.py:42) by k,",
        ),
        (
            "router, two processes",
            "AUX_LOSS_SCALED",
            "multiplies both by the number",
            "Divide what the model adds (model",
        ),
        ("world size", "WORLD_SIZE_SCALED", "", "Try average_tokens_across_devices=False in the training arguments."),
        ("world size, own loss", "WORLD_SIZE_SCALED", "", "Try average_tokens_across_devices=True"),
        (
            "means, class right by now",
            "MEAN_OF_MEANS",
            "",
            "No one-line fix: on is k times too large here, off weighs short micro-batches too much. Upgrade "
            "transformers to 5.17.0 or later, whose Gemma3ForConditionalGeneration uses num_items_in_batch. Until then",
        ),
        (
            "means, class never right",
            "MEAN_OF_MEANS",
            "",
            "No one-line fix: on is k times too large here, off weighs short micro-batches too much. Keep off",
        ),
        (
            "means, other value not tried",
            "MEAN_OF_MEANS",
            "",
            "The other value of the flag was not tried: add  --loss-",
        ),
        (
            "means, attached",
            "MEAN_OF_MEANS",
            "",
            f"Try  {FLAG_ON}\nIt was not tried here: attach again to see what it does. Both values of the flag are "
            "tried by  gacheck run --model tiny:llama",
        ),
        (
            "means, attached, a class of one's own",
            "MEAN_OF_MEANS",
            "",
            f"Try  {FLAG_ON}\nIt was not tried here: attach again to see what it does.",
        ),
        (
            "means, flag set by hand",
            "MEAN_OF_MEANS",
            "The training's own code set the flag to False; the Trainer had chosen True.",
            f"{FLAG_ON}\nTried on the same micro-batches (flag on): 5.150. Or leave out the line that sets it to ",
        ),
        (
            "means, step drops the count",
            "MEAN_OF_MEANS",
            "MyTrainer.training_step does not hand num_items_in_batch on.",
            "Hand it on in MyTrainer.training_step:  super().training_step(model, inputs, num_items_in_batch)",
        ),
        (
            "means, own step drops the count",
            "MEAN_OF_MEANS",
            "MyTrainer.training_step does not hand num_items_in_batch on.",
            "Hand it on in MyTrainer.training_step, and do not divide by k in MyTrainer.training_step:  self.compute_l",
        ),
        (
            "means, drops the count, said not to be scaled",
            "MEAN_OF_MEANS",
            "MyTrainer.compute_loss does not hand num_items_in_batch on.",
            "Hand it on in MyTrainer.compute_loss, and take trainer.loss_is_scaled_for_ga = False out:  model(**inp",
        ),
        (
            "means, own loss, said not to be scaled",
            "MEAN_OF_MEANS",
            "MyTrainer.loss_is_scaled_for_ga = False lets the Trainer divide by k.",
            "Return from MyTrainer.compute_loss the summed loss / num_items_in_batch, divided by nothing else. "
            "MyTrainer.loss_is_scaled_for_ga = True then says so.",
        ),
        (
            "unshifted, 4.57.6",
            "UNSHIFTED_TOKEN_COUNT",
            "",
            "Upgrade transformers to 5.14.1 or later, which counts labels after the shift. With long rows it hardly",
        ),
        (
            "unshifted, 4.57.6, no loss_type",
            "UNSHIFTED_TOKEN_COUNT",
            "",
            "Upgrade transformers to 5.14.1 or later, which counts labels after the shift. There the Trainer goes by "
            'loss_type:  model.loss_type = "ForCausalLM"',
        ),
        (
            "unshifted, no loss_type",
            "UNSHIFTED_TOKEN_COUNT",
            "by loss_type, which is None of GPT2LMHeadModel",
            'model.loss_type = "ForCausalLM"   # before the Trainer is made\n',
        ),
        (
            "unshifted, no loss_type, adapter",
            "UNSHIFTED_TOKEN_COUNT",
            "by loss_type",
            'model.get_base_model().loss_type = "ForCausalLM"   # before the Trainer is made\n',
        ),
        (
            "unshifted, own count",
            "UNSHIFTED_TOKEN_COUNT",
            "MyTrainer.get_batch_samples takes the place of the Trainer's count",
            "Count labels[..., 1:] in MyTrainer.get_batch_samples.",
        ),
        ("unshifted, newest", "UNSHIFTED_TOKEN_COUNT", "", "None is known for this class and release."),
        (
            "labels, smoothed",
            "LABELS_NOT_SHIFTED",
            "and Mistral3ForConditionalGeneration is not in it",
            "Set label_smoothing_factor=0.0 in the training arguments",
        ),
        (
            "labels, own loss",
            "LABELS_NOT_SHIFTED",
            "MyTrainer.compute_loss scores the label of the same position",
            "Score logits[..., :-1, :] against labels[..., 1:] in MyTrainer.compute_loss.",
        ),
        (
            "labels, nobody's",
            "LABELS_NOT_SHIFTED",
            "The loss that is trained on scores",
            "Score logits[..., :-1, :] ag",
        ),
        ("short last step, 4.50.3", "SHORT_LAST_STEP", "3 of 4", "Upgrade transformers to 4.55 or later"),
        ("short last step, newest", "SHORT_LAST_STEP", "3 of 4", "Choose the rows so that"),
        (
            "short last step, own step",
            "SHORT_LAST_STEP",
            "divided by k all the same, in MyTrainer.training_step",
            "Divide in MyTrainer.training_step by self.current_gradient_accumulation_steps",
        ),
        (
            "count, own",
            "MISALIGNED_COUNT",
            "120 instead of 100, as MyTrainer.get_batch_samples counts them",
            "Count in MyTrainer.get_batch_samples labels[..., 1:] of the batches that it returns",
        ),
        ("count at the end, 4.46.0", "MISALIGNED_COUNT", "120 instead of", "Upgrade transformers to 5.24.0 or later"),
        ("count at the end, newest", "MISALIGNED_COUNT", "120 instead of", "Choose the rows so that k micro-batches"),
        ("count, nobody's", "MISALIGNED_COUNT", "120 instead of 100.", "Look for what divides by another count"),
        (
            "gradient",
            "UNEXPLAINED",
            "2.38 times the norm of the right one and a cosine of 0.810 to it. Furthest off: model.layers.0.mlp.weight "
            "(by 1.7 times its norm).",
            "Look for what changes gradients",
        ),
        (
            "gradient, hook",
            "UNEXPLAINED",
            "A hook can change the gradient of model.layers.0.mlp.weight.",
            "Take the hook off model.layers.0.mlp.weight",
        ),
        ("gradient, own step", "UNEXPLAINED", "", "Look in MyTrainer.training_step for what changes gradients"),
        ("losses", "UNEXPLAINED", "No known fault predicts", "Look at the line above"),
        (
            "losses, own step",
            "UNEXPLAINED",
            "No known fault predicts",
            "Look in MyTrainer.training_step: what it returns",
        ),
        (
            "not asked",
            "INCONCLUSIVE",
            "MyTrainer.training_step does not ask compute_loss once for each micro-batch",
            "Let MyTrainer.training_step call self.compute_loss",
        ),
        ("failed, run", "INCONCLUSIVE", "k4-on ran out of memory.", "See above why it failed; a smaller --effective-b"),
        (
            "failed, smoke",
            "INCONCLUSIVE",
            "k4-on ran out of memory.",
            "See above why it failed; a smaller --effective-b",
        ),
        (
            "failed, code",
            "INCONCLUSIVE",
            "k4-on ran out of memory.",
            "See above why it failed; a smaller gradient_accu",
        ),
        (
            "refused",
            "LOSS_KWARGS_REJECTED",
            "Gemma3ForConditionalGeneration declares accepts_loss_kwargs = True",
            "The other value of the flag was not tried: add  --loss-kwargs on,off",
        ),
        ("refused, smoke", "LOSS_KWARGS_REJECTED", "", "Let Gemma3ForConditionalGeneration.forward take num_items_in"),
        ("nothing run", "INCONCLUSIVE", "Nothing was measured", "go on with  --resume"),
        ("choice not run", "INCONCLUSIVE", "Its own choice", "add  --loss-kwargs on,off"),
        (
            "nothing seen",
            "INCONCLUSIVE",
            "It could not be seen: its inputs hold no labels; it failed without a message.",
            "Measure the model by itself:  gacheck run --model tiny:gemma3",
        ),
    ],
)
def test_cause_and_fix(name: str, code: str, cause: str, fix: str) -> None:
    verdict = verdict_of(name)

    assert verdict.code == code
    assert cause in verdict.words.cause
    assert verdict.words.fix.startswith(fix)


def test_a_mean_of_means_fails_where_it_does_harm_and_says_by_how_much() -> None:
    # One micro-batch holds 300 of 303 targets, and gets a quarter of the weight.
    harmful, mild = verdict_of("means, harmful"), verdict_of("means, class never right")

    assert (harmful.code, harmful.severity) == ("MEAN_OF_MEANS", "fail")
    assert harmful.words.summary == "short micro-batches weigh too much (gradient norm 75 % lower, cosine 0.50)"
    assert (mild.severity, mild.words.summary) == (
        "warn",
        "short micro-batches weigh too much (gradient norm 17 % lower)",
    )


def test_an_auxiliary_loss_of_two_processes_says_how_large_it_is() -> None:
    wanted = "the auxiliary loss is 8 times too large, k times the number of processes"

    assert verdict_of("router, two processes").words.summary == wanted


def test_a_loss_type_is_given_for_every_place() -> None:
    remedy = verdict_of("unshifted, no loss_type").words.remedy

    assert remedy.trainer == 'model.loss_type = "ForCausalLM"  # before the Trainer is made'
    assert remedy.model_class == 'self.loss_type = "ForCausalLM"  # in GPT2LMHeadModel.__init__, after super().__init__'
    assert all('loss_type = "ForCausalLM"' in (place or "") for place in (remedy.llamafactory, remedy.trl))


@pytest.mark.parametrize("name", CULPRITS)
def test_what_was_not_tried_is_no_remedy(name: str) -> None:
    verdict = verdict_of(name)
    words = verdict.words

    if verdict.better_flag is None:
        assert words.remedy.trainer is None or "loss_type" in words.remedy.trainer
        assert not re.search(r"(?<!Try  )trainer\.model_accepts_loss_kwargs = ", words.fix)
    else:
        assert "Tried" in words.fix
    # An attribute that nobody set and tried is something to try.
    assert not re.search(r"^\w+\.loss_is_scaled_for_ga", words.fix)
