"""experiment.py with a fake session: no torch is loaded here."""

from __future__ import annotations

import pytest

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError
from gacheck.measure.experiment import begin_record, check_same_experiment, measure_auto, run_passes
from gacheck.record.parts import PassRecord
from gacheck.record.plan import PassSpec, plan
from gacheck.record.run import RunRecord
from gacheck.rules.facts import Flag
from tests.builders import failed_pass, pass_record, run_record
from tests.fakes import FakeSession

KS = {"gradient_accumulation_steps": (1, 2, 4), "loss_kwargs": ("on", "off")}


def fake_pass(spec: PassSpec) -> PassRecord:
    return pass_record(spec.accumulation_steps, spec.loss_kwargs, "token_mean")


def test_a_record_begins_with_what_the_session_says_and_lacks_its_passes() -> None:
    config = ExperimentConfig.model_validate(KS)
    session = FakeSession(config)
    record = begin_record(config, session)

    assert (record.config, record.model, record.data) == (config, session.model, session.data)
    assert (record.hardware, record.learning_rate) == (session.hardware, session.learning_rate)
    assert record.oracle == session.ask_oracle()
    assert record.missing == record.planned == plan(config)


@pytest.mark.parametrize(
    ("auto", "on", "ran"),
    [
        (Flag.ON, "token_mean", ["k4-on"]),
        (Flag.ON, "sum_of_means", ["k4-on", "k4-off"]),
        (Flag.OFF, "token_mean", ["k4-off", "k4-on"]),
    ],
)
def test_the_other_value_of_the_flag_is_tried_only_where_the_chosen_one_is_not_fine(
    auto: Flag, on: str, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeSession, "auto", auto)
    monkeypatch.setattr(FakeSession, "rules", {"on": on, "off": "mean_of_means"})
    monkeypatch.setattr(FakeSession, "ran", [])
    config = ExperimentConfig.model_validate({"gradient_accumulation_steps": (4,), "effective_batch_size": 8})
    record = measure_auto(config, FakeSession(config))

    assert FakeSession.ran == [p.id for p in record.passes] == ran
    assert record.complete


def test_the_plan_goes_k_by_k() -> None:
    config = ExperimentConfig.model_validate({"gradient_accumulation_steps": [1, 4], "loss_kwargs": ["on", "off"]})

    assert [spec.id for spec in plan(config)] == ["k1-on", "k1-off", "k4-on", "k4-off"]


def test_every_pass_runs_once_and_is_saved_at_once() -> None:
    ran: list[str] = []
    saved: list[int] = []

    def run_pass(spec: PassSpec) -> PassRecord:
        ran.append(spec.id)
        return fake_pass(spec)

    record = run_passes(run_record([], config=KS), run_pass, lambda r: saved.append(len(r.passes)))

    assert ran == [spec.id for spec in plan(record.config)]
    assert saved == [0, 1, 2, 3, 4, 5, 6]
    assert record.complete
    assert record.missing == ()


def test_a_broken_run_keeps_what_was_measured_and_goes_on_from_there() -> None:
    saved: list[RunRecord] = []

    def breaks_in_the_fifth(spec: PassSpec) -> PassRecord:
        if len(saved) == 5:
            raise KeyboardInterrupt
        return fake_pass(spec)

    with pytest.raises(KeyboardInterrupt):
        run_passes(run_record([], config=KS), breaks_in_the_fifth, saved.append)
    redone: list[str] = []

    def run_pass(spec: PassSpec) -> PassRecord:
        redone.append(spec.id)
        return fake_pass(spec)

    record = run_passes(saved[-1], run_pass, lambda r: None)

    assert len(saved[-1].passes) == 4
    assert redone == ["k4-on", "k4-off"]
    assert record.complete


def test_a_failed_pass_is_an_outcome_and_is_not_redone() -> None:
    record = run_record([failed_pass(1, "on")], config=KS)

    assert "k1-on" not in [spec.id for spec in record.missing]


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("config", "seed", 1),
        ("data", "fingerprint", "other"),
        ("model", "num_parameters", 5),
        ("hardware", "device", "cuda:0"),
        ("environment", "packages", {"transformers": "4.50.3"}),
    ],
)
def test_a_run_is_not_resumed_under_other_conditions(part: str, key: str, value: object) -> None:
    earlier = run_record([], config=KS)
    changed = getattr(earlier, part).model_copy(update={key: value})

    check_same_experiment(earlier, earlier)
    with pytest.raises(ConfigError, match=f"{part}.{key}") as caught:
        check_same_experiment(earlier, earlier.model_copy(update={part: changed}))
    assert caught.value.exit_code == 2
