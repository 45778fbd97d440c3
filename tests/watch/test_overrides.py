"""What a Trainer's own code puts in the place of transformers' own, read from Trainers that were never made whole."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, Trainer

from gacheck.rules.facts import Overrides
from gacheck.watch.description import describe_model, hooked_parameters
from gacheck.watch.overrides import read_overrides

HERE = "tests.watch.test_overrides"


class OwnStep(Trainer):  # type: ignore[misc]
    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        loss.backward()
        return loss.detach()


class Below(OwnStep):
    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        return super().training_step(model, inputs, num_items_in_batch)


class Timed(Trainer):  # type: ignore[misc]
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        return super().training_step(*args, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples, _ = super().get_batch_samples(*args, **kwargs)
        return samples, None


class DropsTheCount(Trainer):  # type: ignore[misc]
    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        return super().compute_loss(model, inputs, return_outputs)


class DropsTheRest(Trainer):  # type: ignore[misc]
    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        return super().compute_loss(model, inputs, return_outputs)


class HandsTheRestOn(Trainer):  # type: ignore[misc]
    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return Trainer.compute_loss(self, model, inputs, *args, **kwargs)


class ReadsItWithin(Trainer):  # type: ignore[misc]
    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        def mean(nats: torch.Tensor) -> torch.Tensor:
            return nats.sum() / num_items_in_batch

        return mean(model(**inputs))


class SaysScaled(Trainer):  # type: ignore[misc]
    loss_is_scaled_for_ga = True


class SaysNothing(SaysScaled):
    """Takes what its base says."""


def trainer_of(kind: type[Trainer], **attributes: Any) -> Trainer:
    made = kind.__new__(kind)
    vars(made).update(attributes)
    return made


def read(kind: type[Trainer], **attributes: Any) -> Overrides:
    return read_overrides(trainer_of(kind, **attributes))


def test_transformers_own_trainer_overrides_nothing() -> None:
    found = read(Trainer)

    assert found == Overrides(counts_micro_batches=found.counts_micro_batches)


@pytest.mark.parametrize(
    ("kind", "method", "name", "calls_own", "drops"),
    [
        (OwnStep, "training_step", "OwnStep", False, False),
        (Below, "training_step", "OwnStep", False, False),  # calls on, and what it calls does not
        (Timed, "training_step", "Timed", True, False),
        (Timed, "get_batch_samples", "Timed", True, False),
        (DropsTheCount, "compute_loss", "DropsTheCount", True, True),
        (DropsTheRest, "compute_loss", "DropsTheRest", True, True),
        (HandsTheRestOn, "compute_loss", "HandsTheRestOn", True, False),
        (ReadsItWithin, "compute_loss", "ReadsItWithin", False, False),
    ],
)
def test_who_defines_a_method_and_what_its_code_does(
    kind: type[Trainer], method: str, name: str, calls_own: bool, drops: bool
) -> None:
    found = read(kind)

    assert getattr(found, method) == f"{HERE}:{name}.{method}"
    assert (method in found.calls_own, method in found.drops_count) == (calls_own, drops)


def my_step(model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
    return model(**inputs).loss


def test_a_function_on_the_object_is_named() -> None:
    assert read(Trainer, training_step=my_step).training_step == f"{HERE}:my_step"


def test_a_function_that_was_put_into_transformers_class_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "training_step", my_step)

    assert read(Trainer).training_step == f"{HERE}:my_step"


@pytest.mark.parametrize(("kind", "name"), [(Trainer, None), (OwnStep, f"{HERE}:OwnStep.training_step")])
def test_what_wraps_a_method_for_watching_is_no_override(kind: type[Trainer], name: str | None) -> None:
    made = trainer_of(kind)

    @functools.wraps(made.training_step)
    def watched(*args: Any, **kwargs: Any) -> Any:
        return None

    made.training_step = watched

    assert read_overrides(made).training_step == name


@pytest.mark.parametrize(
    ("kind", "attributes", "value", "by"),
    [
        (SaysScaled, {}, True, f"{HERE}:SaysScaled"),
        (SaysNothing, {}, True, f"{HERE}:SaysScaled"),
        (SaysScaled, {"loss_is_scaled_for_ga": False}, False, None),
        (Trainer, {}, None, None),
    ],
)
def test_who_says_that_the_loss_is_scaled(
    kind: type[Trainer], attributes: dict[str, Any], value: bool | None, by: str | None
) -> None:
    found = read(kind, **attributes)

    assert (found.loss_is_scaled_for_ga, found.loss_is_scaled_set_by) == (value, by)


@pytest.mark.parametrize(
    ("kind", "attributes", "used"),
    [
        (Trainer, {"label_smoother": object()}, True),
        (HandsTheRestOn, {"label_smoother": object()}, True),
        (ReadsItWithin, {"label_smoother": object()}, False),
        (Trainer, {"label_smoother": object(), "compute_loss_func": my_step}, False),
        (Trainer, {"label_smoother": None}, False),
    ],
)
def test_whether_the_label_smoother_computes_the_loss(
    kind: type[Trainer], attributes: dict[str, Any], used: bool
) -> None:
    assert read(kind, **attributes).label_smoother is used


def test_a_loss_function_is_named() -> None:
    assert read(Trainer, compute_loss_func=my_step).compute_loss_func == f"{HERE}:my_step"


def test_a_trainer_that_is_not_transformers_own_is_named_throughout() -> None:
    class Mine:
        def training_step(self, model: Any, inputs: Any) -> Any:
            return my_step(model, inputs)

    found = read_overrides(Mine())

    assert (found.training_step, found.compute_loss) == (f"{HERE}:Mine.training_step", None)


class MineForCausalLM(LlamaForCausalLM):  # type: ignore[misc]
    """A class of one's own, whose type transformers makes another of."""


def tiny(kind: type[Any]) -> Any:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return kind(LlamaConfig(vocab_size=8, pad_token_id=0, **sizes))


@pytest.mark.parametrize(
    ("kind", "loss_type", "built"),
    [
        (LlamaForCausalLM, "ForCausalLM", True),
        (LlamaForSequenceClassification, "ForSequenceClassification", False),
        (MineForCausalLM, "ForCausalLM", False),
    ],
)
def test_a_model_says_what_its_loss_is_and_whether_its_type_makes_it(
    kind: type[Any], loss_type: str, built: bool
) -> None:
    described = describe_model(tiny(kind))

    if described.has_loss_type:  # not before 4.46.2
        assert described.loss_type == loss_type
    assert described.built_by_auto_class is built


def test_parameters_whose_gradients_a_hook_can_change() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, bias=False))
    assert hooked_parameters(model) == ()

    model[0].weight.register_hook(lambda gradient: gradient * 4)
    model[0].bias.register_post_accumulate_grad_hook(lambda parameter: None)
    model[1].register_full_backward_hook(lambda *args: None)
    model[2].register_forward_hook(lambda *args: None)

    assert hooked_parameters(model) == ("0.weight", "0.bias", "1.weight", "1.bias")


def test_of_a_model_without_transformers_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(torch.nn.Linear):
        config = SimpleNamespace(model_type="llama")

    monkeypatch.delitem(__import__("sys").modules, "transformers.models.auto.modeling_auto")
    described = describe_model(Plain(1, 1))

    assert (described.loss_type, described.has_loss_type, described.built_by_auto_class) == (None, False, None)


def test_code_of_the_user_s_own_goes_before_a_library_s() -> None:
    code = "class Library(Trainer):\n    def compute_loss(self, model, inputs, **kw):\n        return model(**inputs)\n"
    home: dict[str, Any] = {"Trainer": Trainer, "__name__": "library"}
    exec(compile(code, "/env/lib/python3/site-packages/library.py", "exec"), home)

    class Mine(home["Library"]):  # type: ignore[misc]
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            return 2 * super().compute_loss(*args, **kwargs)

    assert read_overrides(trainer_of(home["Library"])).compute_loss == "library:Library.compute_loss"
    assert str(read_overrides(trainer_of(Mine)).compute_loss).endswith("Mine.compute_loss")
