"""What a verdict says: one entry a code, and in every case whole, harmless and true words."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gacheck.rules.facts import MicroBatchRecord
from gacheck.rules.table import SEVERITY
from gacheck.words.analysis import analyse
from gacheck.words.faults import FAULTS, right, scale, unanswered, weighting
from tests.builders import ROWS, oracle, pass_record, run_record
from tests.core.cases import CASES, verdict_of
from tests.core.edits import edit_micro_batches


def test_every_code_has_one_entry() -> None:
    entries = [fault.code for module in (right, scale, unanswered, weighting) for fault in module.FAULTS]

    assert sorted(entries) == sorted(SEVERITY)
    assert {code: fault.code for code, fault in FAULTS.items()} == {code: code for code in SEVERITY}


@pytest.mark.parametrize("name", CASES)
def test_words(name: str) -> None:
    verdict = verdict_of(name)
    words = verdict.words

    assert words.docs == f"docs/faults.md#{verdict.code.lower()}"
    for text in [words.summary, words.cause, words.impact, *words.notes]:
        assert text
        assert text == text.strip()
        assert "  " not in text
        assert not re.search(r"\b(None|nan|inf)\b", text)
    assert words.fix == words.fix.strip()
    # A line of code is given where a value of the flag is better, and only there.
    remedy = words.remedy
    places = [remedy.trainer, remedy.model_class, remedy.llamafactory, remedy.trl]
    if verdict.better_flag is None:
        assert places == [None] * 4
        assert "trainer.model_accepts_loss_kwargs =" not in words.fix
    else:
        value = str(verdict.better_flag == "on")
        line = f"trainer.model_accepts_loss_kwargs = {value}   # before trainer.train()"
        assert line in [each.removeprefix("Or  ") for each in words.fix.splitlines()]
        assert all(f"accepts_loss_kwargs = {value}" in (place or "") for place in places)


@pytest.mark.parametrize(
    ("name", "field", "wanted"),
    [
        ("4.50.3 Gemma3; XLNet", "fix", "Still wrong after that: short micro-batches weigh too much."),
        ("4.50.3 Gemma3; XLNet", "impact", "AdamW and max_grad_norm 1"),
        ("4.50.3 Gemma3; XLNet", "cause", "modeling_tiny.py:42"),
        ("4.57.6 Gemma3", "fix", "on is k times too large here, off weighs short micro-batches too much"),
        ("5.23.0", "fix", "Do not set the flag to False here"),
        ("4.57.6 Llama", "summary", "7.4 % too small"),  # 8 rows / 108 labels = 7.4 %
        ("4.57.6 Llama", "cause", "2,048 tokens"),
        ("log only", "impact", "Only the logged number is wrong"),
        ("gradient only", "impact", "The log looks right, the gradients are not"),
        ("auto not run", "fix", "--loss-kwargs on,off"),
        ("auto failed", "cause", "out of memory"),
        ("other objective", "cause", "label_smoothing_factor 0.1"),
        ("NaN at one k, step 2", "cause", "k = 8"),
        ("k = 1 alone", "notes", "an accumulation step above 1 would tell them apart"),
        ("one k failed", "notes", "Failed, so not judged: k8-on."),
        ("k differ", "notes", "Also: MEAN_OF_MEANS."),
        ("coarse", "cause", "1.0e-01"),
        ("short last step", "cause", "3 of 4 micro-batches"),
        ("short last step beside right ones", "certainty", "Fits exactly"),
        ("short last step", "notes", "Also: MEAN_OF_MEANS."),
        ("count of another step", "cause", "120 instead of 100"),
        ("router loss × k", "cause", "auxiliary loss"),
        ("two processes, × W", "summary", "the number of processes, 2"),
        ("two processes, × W", "fix", "trainer.model_accepts_loss_kwargs = False"),
        ("gradient does not follow the wrong log", "impact", "Only the logged number is wrong"),
        ("gradient does not follow the right log", "impact", "The log looks right, the gradients are not"),
    ],
)
def test_the_words_that_matter(name: str, field: str, wanted: str) -> None:
    said = getattr(verdict_of(name).words, field)

    assert wanted in (" ".join(said) if isinstance(said, tuple) else said)


def test_words_do_not_blame_the_log_where_the_gradient_alone_is_wrong() -> None:
    words = verdict_of("gradient only").words

    assert words.summary != verdict_of("4.50.3 Gemma3; XLNet").words.summary
    assert "right answer" not in words.cause


@pytest.mark.parametrize(
    ("rule", "rows", "said"),
    [
        ("mean_of_means", ROWS, []),  # as many rows in each micro-batch: a mean over rows is one of means
        (
            "token_mean",
            ((40.0, 8), (50.0, 8), (30.0, 8), (20.0, 8)),
            ["On this data the same is predicted by: mean of means; rows of unequal length would tell them apart."],
        ),
    ],
)
def test_rules_that_cannot_differ_are_not_mentioned(
    rule: str, rows: tuple[tuple[float, int], ...], said: list[str]
) -> None:
    record = run_record(
        [pass_record(k, "on", rule, rows=rows) for k in (2, 4)],
        oracle_record=oracle(rows),
        config={"effective_batch_size": len(rows)},
    )

    assert list(analyse(record).verdict.words.notes) == said


def test_without_a_shift_nothing_is_counted_before_it() -> None:
    made = [edit_micro_batches(pass_record(k, "on", "token_mean"), _without_shift) for k in (2, 4)]

    assert analyse(run_record(made)).verdict.words.notes == ()


def _without_shift(_: int, m: MicroBatchRecord) -> MicroBatchRecord:
    seen = m.observation
    return replace(m, observation=seen and replace(seen, num_label_tokens=seen.num_target_tokens))


def test_a_gradient_that_was_not_seen_is_not_praised() -> None:
    made = [pass_record(k, "on", "token_mean", backward=None) for k in (1, 2)]
    record = run_record(made, config={"gradients": False})
    words = analyse(record).verdict.words

    assert words.summary == "the gradient was not seen"
    assert words.impact == "The gradient was not seen."
    assert words.fix == "leave out --no-gradients"
