"""experiment.py with a fake session: no torch is loaded here."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from gacheck.config import ExperimentConfig
from gacheck.errors import GacheckError, ModelError, ResourceError, UserCodeError
from gacheck.measure.experiment import begin_record, measure_auto, run_passes
from gacheck.record.parts import PassError, PassRecord
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


def fails_with(kind: str, message: str, *, rejects: bool = False) -> PassError:
    return PassError(kind=kind, message=message, rejects_num_items_in_batch=rejects)


BUG = fails_with("ValueError", "Mine.compute_loss raised ValueError: odd (mine.py:3), from --trainer-class")
EXIT = fails_with("SystemExit", "Mine.compute_loss called sys.exit(0) (mine.py:3), from --trainer-class")
OTHER = fails_with("ValueError", "of a library")
# What was to be had differs from call to call.
MEMORY = [fails_with("OutOfMemoryError", f"CUDA out of memory. Tried to allocate {n} GiB") for n in range(8)]
SLOW = fails_with("PassTimeout", "Mine.compute_loss raised PassTimeout: it had not ended (mine.py:3)")
REJECTS = fails_with("TypeError", "unexpected keyword argument 'num_items_in_batch'", rejects=True)
ONE_FLAG = {"gradient_accumulation_steps": (1, 2, 4, 8), "loss_kwargs": ("on",)}


@pytest.mark.parametrize(
    ("config", "errors", "num_passes", "error", "exit_code"),
    [
        (KS, [BUG, BUG], 2, UserCodeError, 2),
        (KS, [EXIT, EXIT], 2, UserCodeError, 2),
        (KS, [OTHER, OTHER], 2, ModelError, 2),
        (KS, MEMORY, 2, ResourceError, 4),
        (KS, [SLOW, SLOW], 2, ResourceError, 4),
        (ONE_FLAG, [BUG, BUG], 2, UserCodeError, 2),
        (ONE_FLAG, [OTHER, BUG, BUG], 3, UserCodeError, 2),
        # There is something to judge, or the failures say different things.
        (KS, [BUG, None, BUG, None, BUG, None], 6, None, 0),
        (KS, [None, BUG, BUG, BUG, BUG, BUG], 6, None, 0),
        (KS, [BUG, OTHER, BUG, OTHER, BUG, OTHER], 6, None, 0),
        (KS, [REJECTS] * 6, 6, None, 0),
        (KS, [REJECTS, None] * 3, 6, None, 0),
    ],
)
def test_a_run_whose_passes_all_fail_alike_ends(
    config: dict[str, object],
    errors: list[PassError | None],
    num_passes: int,
    error: type[GacheckError] | None,
    exit_code: int,
) -> None:
    saved: list[RunRecord] = []

    def run_pass(spec: PassSpec) -> PassRecord:
        found = errors[len(saved) - 1]
        failed = failed_pass(spec.accumulation_steps, spec.loss_kwargs)
        return fake_pass(spec) if found is None else failed.model_copy(update={"error": found})

    with nullcontext() if error is None else pytest.raises(error) as caught:
        run_passes(run_record([], config=config), run_pass, saved.append)
    # What was measured is saved in any case.
    assert len(saved[-1].passes) == num_passes
    if caught is not None:
        assert caught.value.exit_code == exit_code
        assert f"{saved[-1].passes[-2].id} and {saved[-1].passes[-1].id} failed alike" in caught.value.why
        assert ("--effective-batch-size" in caught.value.fix) is (error is ResourceError)
