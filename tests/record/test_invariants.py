"""A record that contradicts itself, or counts what cannot be, is refused in words when it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gacheck.errors import RecordError
from gacheck.record.journal import RECORD_NAME, load_record
from gacheck.record.parts import Record
from tests.builders import Gradient, attached_run, failed_pass, pass_record, run_record
from tests.surveys import GEMMA3, LLAMA, judged, survey, unjudged

Edit = Callable[[dict[str, Any]], object]


def a_run() -> Record:
    measured = pass_record(2, "on", "token_mean", gradient=Gradient("token_mean"))
    return run_record([measured, failed_pass(2, "off"), pass_record(4, "on", "token_mean"), failed_pass(4, "off")])


def a_survey() -> Record:
    return survey([judged(LLAMA, "token_mean"), unjudged(GEMMA3, "It hung.")])


def observation(c: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = c["passes"][0]["steps"][0]["micro_batches"][0]["observation"]
    return found


WRONG: dict[str, tuple[Callable[[], Record], Edit, str]] = {
    "k is 0": (a_run, lambda c: c["passes"][0].update(accumulation_steps=0), "passes.0.accumulation_steps"),
    "k of another pass": (a_run, lambda c: c["passes"][0].update(accumulation_steps=4), "has the k and the flag of"),
    "flag of another pass": (a_run, lambda c: c["passes"][0].update(loss_kwargs="off"), "the k and the flag of k2-off"),
    "a pass twice": (a_run, lambda c: c["passes"].append(c["passes"][0]), "the pass k2-on is there twice"),
    "a pass that nobody planned": (
        a_run,
        lambda c: c["config"].update(gradient_accumulation_steps=[2]),
        "the pass k4-on was not planned",
    ),
    "failed without an error": (a_run, lambda c: c["passes"][1].update(error=None), "k2-off failed without an error"),
    "ok with an error": (a_run, lambda c: c["passes"][1].update(status="ok"), "the pass k2-off is ok with an error"),
    "a tail among the passes": (
        a_run,
        lambda c: (
            c["config"].update(short_last_step=True),
            c["passes"][0].update(tail=True, id="k2-on-tail", accumulation_steps=2),
        ),
        "k2-on-tail is in the wrong list",
    ),
    "steps that go back": (a_run, lambda c: c["passes"][0]["steps"].reverse(), "steps of the pass k2-on do not follow"),
    "a step below 0": (a_run, lambda c: c["passes"][0]["steps"][0].update(step=-1), "step -1 is below 0"),
    "targets below 0": (a_run, lambda c: observation(c).update(num_target_tokens=-1), "num_target_tokens is -1"),
    "too many targets to be": (
        a_run,
        lambda c: observation(c).update(num_target_tokens=10**30),
        "num_target_tokens is",
    ),
    "products that are missing": (
        a_run,
        lambda c: c["passes"][0]["steps"][0]["gradients"][0]["among_replays"].pop(),
        "2 replays do not have 2 products among them",
    ),
    "the square of no number": (
        a_run,
        lambda c: c["passes"][0]["steps"][0]["gradients"][0].update(square=-1.0),
        "square is -1.0",
    ),
    "tokens of a row": (a_run, lambda c: c["oracle"]["rows"][0].update(num_label_tokens=-3), "rows.0.num_label_tokens"),
    "noise below 0": (a_run, lambda c: c["oracle"]["noise"].update(repeat=-1e-9), "oracle.noise.repeat: it is below 0"),
    "no process": (a_run, lambda c: c["hardware"].update(world_size=0), "damaged at hardware.world_size"),
    "rows below 0": (a_run, lambda c: c["data"].update(num_rows=-1), "damaged at data.num_rows"),
    "parameters beyond counting": (a_run, lambda c: c["model"].update(num_parameters=10**400), "model.num_parameters"),
    "time that ran backwards": (a_run, lambda c: c["passes"][0].update(seconds=-1), "passes.0.seconds: it is below 0"),
    "version is a truth": (a_run, lambda c: c.update(schema_version=True), "schema version True"),
    "attached without its pass": (
        lambda: attached_run("token_mean"),
        lambda c: c.update(passes=[]),
        "an attached training has one pass, at its own flag",
    ),
    "attached, at another k": (
        lambda: attached_run("token_mean"),
        lambda c: c["setup"].update(gradient_accumulation_steps=8),
        "the pass k4-on was not planned",
    ),
    "attached without its part": (
        lambda: attached_run("token_mean"),
        lambda c: c.pop("setup"),
        "damaged at setup",
    ),
    "tried what it did": (
        lambda: attached_run("token_mean"),
        lambda c: c.update(tried=c["passes"], passes=c["passes"]),
        "k4-on is there twice",
    ),
    "a row twice": (
        a_survey,
        lambda c: c["rows"].append(c["rows"][0]),
        "is there twice",
    ),
    "a row of no item": (a_survey, lambda c: c.update(items=c["items"][1:]), "was not planned"),
}


def save(record: Record, edit: Edit, folder: Path) -> Path:
    content = json.loads(record.model_dump_json())
    edit(content)
    path = folder / RECORD_NAME
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    make, edit, told = WRONG[name]
    load_record(save(make(), lambda c: None, tmp_path))  # as it was made it is fine

    with pytest.raises(RecordError) as caught:
        load_record(save(make(), edit, tmp_path))
    assert caught.value.exit_code == 2
    assert told in caught.value.what


def test_what_a_broken_training_gives_is_none_of_it(tmp_path: Path) -> None:
    def not_a_number(c: dict[str, Any]) -> None:
        c["oracle"]["noise"].update(repeat="NaN", plain_loss="Infinity")
        c["passes"][0]["steps"][0]["micro_batches"][0].update(reported_loss_nats=-7.5, num_items_in_batch=-3.0)
        observation(c).update(sum_nats="-Infinity")

    load_record(save(a_run(), not_a_number, tmp_path))
