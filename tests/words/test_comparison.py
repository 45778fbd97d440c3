"""Two records, read and joined: what is said to have become of each class."""

from __future__ import annotations

import itertools

import pytest

from gacheck.core.compare import Change
from gacheck.record.survey import SurveyRecord
from gacheck.words.analysis import analyse
from gacheck.words.changes import change_label, counts_line, result_line, verdict_label
from gacheck.words.comparison import Side, compare_sides, keeps_apart
from tests.builders import attached_run, full_run, pass_record
from tests.reporters.cases import RECORDS
from tests.reporters.comparison_cases import COMPARISONS, release, surveys, training, trainings
from tests.reporters.survey_cases import SURVEYS, rows_of
from tests.surveys import BERT, GEMMA3, GEMMA3_TEXT, LLAMA, MIDDLE, NEW, OLD, Kind, judged, survey

SIDES: dict[str, Side] = {
    **{name: training(record, name) for name, record in RECORDS.items()},
    **{f"survey {name}": release(record) for name, record in SURVEYS.items() if record.items},
}


@pytest.mark.parametrize("name", SIDES)
def test_a_record_against_itself_has_no_change(name: str) -> None:
    found = compare_sides(SIDES[name], SIDES[name])

    assert keeps_apart(SIDES[name], SIDES[name]) == ()
    assert {change.kind for change in found.changes} <= {"same", "unjudged"}
    assert found.result in ("none", "unjudged")
    assert [change for change in found.changes if change.passes] == []


def alike(a: Side, b: Side) -> bool:
    return a.kind == b.kind and not keeps_apart(a, b)


PAIRS = [(a, b) for a, b in itertools.combinations(SIDES, 2) if alike(SIDES[a], SIDES[b])]


def test_there_are_pairs_of_every_kind() -> None:
    assert {SIDES[a].kind for a, _ in PAIRS} == {"run", "attach", "survey"}
    assert len(PAIRS) > 50


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_the_other_way_round_is_the_mirror_image(a: str, b: str) -> None:
    forth, back = compare_sides(SIDES[a], SIDES[b]), compare_sides(SIDES[b], SIDES[a])

    mirrored = {change.name: change for change in back.changes}
    assert mirrored.keys() == {change.name for change in forth.changes}
    for change in forth.changes:
        assert (mirrored[change.name].a, mirrored[change.name].b) == (change.b, change.a)
        assert {each.name: each.figures for each in mirrored[change.name].passes} == {
            each.name: each.figures for each in change.passes
        }
    for this, that in ((forth, back), (back, forth)):
        assert len(this.of("regressed")) == len(that.of("better")) + len(that.of("fixed"))
        assert len(this.of("lost")) == len(that.of("found"))
        assert len(this.of("new")) == len(that.of("gone"))
        assert len(this.of("changed")) == len(that.of("changed"))
        assert len(this.of("moved")) == len(that.of("moved"))


def of(name: str, kind: Kind = GEMMA3) -> Change:
    (found,) = [each for each in COMPARISONS[name].changes if each.name == f"{kind.name} {kind.task}"]
    return found


def test_gemma3_is_better_but_not_right_between_two_releases_and_right_in_the_next() -> None:
    better, fixed = of("releases"), of("newest")

    assert better.kind == "better"
    assert change_label(better) == "FAIL SCALED_BY_ACCUMULATION → WARN MEAN_OF_MEANS"
    # The Trainer chooses another flag: the ratio is that of the pass it gets, and both passes are what they were.
    assert better.a is not None
    assert better.b is not None
    assert (str(better.a.flag), str(better.b.flag)) == ("on", "off")
    assert better.passes == ()
    assert fixed.kind == "fixed"
    assert change_label(fixed) == "WARN MEAN_OF_MEANS → OK"
    assert COMPARISONS["releases"].result == COMPARISONS["newest"].result == "none"


def test_the_way_back_is_a_regression() -> None:
    found = COMPARISONS["releases back"]

    assert [change.name.split()[0] for change in found.of("regressed")] == ["gemma3", "gemma3_text"]
    assert result_line(found) == "REGRESSION: Gemma3ForConditionalGeneration, Gemma3ForCausalLM"


def test_classes_are_joined_by_name_and_task() -> None:
    bert = Kind(LLAMA.name, BERT.class_name, "bert", task=BERT.task)
    found = surveys([judged(LLAMA, "token_mean")], [judged(bert, "token_mean"), judged(LLAMA, "token_mean")])

    assert dict(found.counts) == {"new": 1, "same": 1}


def test_a_class_of_another_type_in_another_release_is_still_the_class() -> None:
    renamed = Kind(GEMMA3.name, "Gemma3Model", "gemma3_new")
    a = release(survey([judged(GEMMA3, "token_mean", release=OLD)]))
    b = release(survey([judged(renamed, "sum_of_means", release=NEW)]))

    assert keeps_apart(a, b) == ()
    assert compare_sides(a, b).result == "regression"


def test_what_a_survey_has_yet_to_measure_was_lost() -> None:
    found = COMPARISONS["interrupted"]

    assert [found.subject(change).name for change in found.of("lost")] == [
        "T5ForConditionalGeneration",
        "BertForTokenClassification",
    ]
    assert (found.result, result_line(found)[0]) == ("unjudged", "?")


def test_classes_are_counted() -> None:
    expected = "6 compared: 2 better, 1 without a verdict in either, 3 the same; 1 only in B"

    assert counts_line(COMPARISONS["releases"]) == expected


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("fixed", "no regression"),
        ("regressed", "REGRESSION: OK → FAIL SCALED_BY_ACCUMULATION"),
        ("lost", "? no regression is seen, but A has a verdict and B has none"),
        ("never judged", "? nothing is judged in both, so no regression could be seen"),
        ("newest", "no regression in the 5 classes that are judged in both"),
        ("many worse", "REGRESSION: M0, M1, M2, M3, M4 and 35 more"),
    ],
)
def test_the_last_line(name: str, line: str) -> None:
    assert result_line(COMPARISONS[name]) == line


def test_codes_beside_the_leading_one_are_said() -> None:
    (change,) = trainings(RECORDS["scaled"], RECORDS["router"]).changes

    assert verdict_label(change.b) == "FAIL AUX_LOSS_SCALED"
    (both,) = trainings(RECORDS["long labels"], RECORDS["router"]).changes
    assert verdict_label(both.a) == "FAIL AUX_LOSS_SCALED + MEAN_OF_MEANS"
    assert both.kind == "changed"


def test_the_pass_of_an_attached_training_is_the_one_that_it_did() -> None:
    (change,) = COMPARISONS["attached"].changes

    assert change.kind == "better"
    assert [each.name for each in change.passes] == ["k4"]


def test_what_was_tried_beside_it_is_not_compared() -> None:
    tried = (pass_record(4, "off", "mean_of_means", num_steps=1),)
    a = RECORDS["attached"].model_copy(update={"tried": tried})
    assert len(analyse(a).passes) == 2

    (change,) = trainings(a, RECORDS["attached"]).changes
    assert (change.kind, change.passes) == ("same", ())


def test_options_that_may_differ_are_named_on_either_side() -> None:
    a, b = attached_run("sum_of_means"), attached_run("sum_of_means", trainer_class="train:Other")

    found = trainings(a, b)
    assert (found.a.facts["trainer_class"], found.b.facts["trainer_class"]) == ("train:MyTrainer", "train:Other")
    assert "trainer_class" not in trainings(a, a).a.facts


def test_trainings_of_other_k_are_kept_apart_with_both_values() -> None:
    few = full_run("sum_of_means", "mean_of_means", ks=(1, 4))

    ((_, why),) = keeps_apart(training(RECORDS["scaled"], "a"), training(few, "b"))
    assert why == "A has gradient_accumulation_steps 1,2,4,8, B 1,4"


def test_facts_of_a_release_are_those_of_its_trainings() -> None:
    record: SurveyRecord = SURVEYS["releases"]
    for name in (OLD, MIDDLE, NEW):
        found = compare_sides(release(survey(rows_of(name))), release(record.of(name)))
        assert found.a.facts["transformers"] == found.b.facts["transformers"] == name
        assert found.of("same") + found.of("unjudged") == found.changes


def test_a_class_that_is_judged_twice_over_is_two() -> None:
    rows = [judged(GEMMA3, "token_mean"), judged(GEMMA3_TEXT, "token_mean")]

    assert dict(surveys(rows, rows).counts) == {"same": 2}
