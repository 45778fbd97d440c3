"""What has to be the same in two trainings for their codes and ratios to be compared."""

from __future__ import annotations

import pytest

from gacheck.config import ExperimentConfig
from gacheck.core.comparable import FREE, compared, unlike
from gacheck.record.attach import AttachRecord
from gacheck.record.run import RunRecord
from gacheck.rules.facts import Flag
from tests.builders import attached_run, full_run

RUN = full_run("sum_of_means", "mean_of_means")
ATTACHED = attached_run("sum_of_means")


def with_options(**options: object) -> RunRecord:
    """Set options of the run, whatever rows they would give."""
    config = ExperimentConfig.model_validate({**RUN.config.model_dump(), **options})
    return RUN.model_copy(update={"config": config})


def other_rows(record: RunRecord) -> RunRecord:
    return record.model_copy(update={"data": record.data.model_copy(update={"fingerprint": "1" * 64})})


def names(a: RunRecord | AttachRecord, b: RunRecord | AttachRecord) -> list[str]:
    return [each.name for each in unlike(a, b)]


@pytest.mark.parametrize("record", [RUN, ATTACHED], ids=["run", "attach"])
def test_a_record_is_like_itself(record: RunRecord | AttachRecord) -> None:
    assert unlike(record, record) == compared(record, record) == ()


def test_an_option_is_named_as_it_is_typed_with_both_values() -> None:
    (found,) = unlike(RUN, with_options(gradient_accumulation_steps=[1, 4]))

    assert (found.name, found.a, found.b) == ("gradient_accumulation_steps", "1,2,4,8", "1,4")


OTHERS: dict[str, object] = {
    "loss_kwargs": [Flag.ON],
    "max_steps": 4,
    "label_smoothing_factor": 0.1,
    "short_last_step": True,
    "gradients": False,
    "random_init": True,
    "tiny": True,
    "config_override": {"output_router_logits": True},
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_decides_the_figures_has_to_be_the_same(name: str) -> None:
    # A folder, since some options go with one; which model it is may differ.
    assert names(RUN, with_options(**{"model": "./mine", name: OTHERS[name]})) == [name]


def test_the_order_of_passes_decides_nothing() -> None:
    assert names(RUN, with_options(gradient_accumulation_steps=[8, 4, 2, 1], loss_kwargs=["off", "on"])) == []


def test_rows_are_counted_however_they_were_asked_for() -> None:
    by_default, said = with_options(effective_batch_size=None), with_options(effective_batch_size=16)

    assert names(by_default, said) == []
    assert names(RUN, said) == ["rows per step"]
    by_micro_batch = with_options(effective_batch_size=None, per_device_train_batch_size=2)
    assert names(RUN, by_micro_batch) == ["rows per step", "rows per micro-batch"]


def test_the_name_of_a_dataset_counts_only_where_its_rows_are_others() -> None:
    moved = with_options(dataset="elsewhere/corpus.jsonl")

    assert names(RUN, moved) == []
    assert names(RUN, other_rows(moved)) == ["dataset"]
    # The same text, cut to other rows by another tokenizer: ratios are not compared, verdicts are.
    assert names(RUN, other_rows(RUN)) == []


@pytest.mark.parametrize(
    ("part", "fact", "value", "said"),
    [
        ("model", "task", "token-classification", "task"),
        ("model", "model_type", "llama", "model type"),
        ("model", "adapter", "PeftModel", "adapter"),
        ("hardware", "dtype", "bfloat16", "dtype"),
        ("hardware", "autocast", "float16", "mixed precision"),
        ("hardware", "world_size", 2, "processes"),
    ],
)
@pytest.mark.parametrize("record", [RUN, ATTACHED], ids=["run", "attach"])
def test_facts_that_decide(record: RunRecord | AttachRecord, part: str, fact: str, value: object, said: str) -> None:
    other = record.model_copy(update={part: getattr(record, part).model_copy(update={fact: value})})

    assert names(record, other) == [said]


def test_of_one_class_the_model_is_what_is_compared() -> None:
    other = RUN.model_copy(update={"model": RUN.model.model_copy(update={"model_type": "gemma3_text"})})

    assert unlike(RUN, other, same_model=True) == ()


def test_what_one_compares_may_differ_and_is_named() -> None:
    other = with_options(trainer_class="mine:Better", optim="sgd", device="cuda", model="./mine", seed=1)

    assert names(RUN, other) == []
    assert {each.name for each in compared(RUN, other)} == {"trainer_class", "optim", "device", "model", "seed"}
    assert set(ExperimentConfig.model_fields) >= FREE


def test_of_attached_trainings_the_flag_may_differ() -> None:
    off = attached_run("mean_of_means", flag="off", trainer_class="train:Other")

    assert names(ATTACHED, off) == []
    assert [(each.name, each.a, each.b) for each in compared(ATTACHED, off)] == [
        ("loss_kwargs", "on", "off"),
        ("trainer_class", "train:MyTrainer", "train:Other"),
    ]
    assert names(ATTACHED, attached_run("sum_of_means", k=2)) == ["gradient_accumulation_steps"]
