"""Records of whose pages a browser may think otherwise than we do: many passes, long texts, hostile names."""

from __future__ import annotations

from dataclasses import replace

from gacheck.record.kinds import AnyTrainingRecord
from gacheck.record.run import RunRecord
from gacheck.record.survey import SurveyRecord
from tests.builders import ROWS, attached_run, failed_pass, pass_record, run_record
from tests.reporters.cases import FLAGS, RECORDS
from tests.reporters.survey_cases import SURVEYS, many
from tests.surveys import Kind, judged, survey, unjudged

SCRIPT = "<script>document.title='taken'; alert(1)</script>"
HOSTILE = (
    f"{SCRIPT}<img src=x onerror=alert(2)> \"' onload=alert(3) =cmd()|'/C calc'!A0 \u202e\x1b[2J "
    "{{ 7*7 }} &lt;b&gt;"
)
"""Markup, attributes, a spreadsheet's formula, a text direction, a terminal's command, a template."""


def hostile_run() -> RunRecord:
    """All words that come from outside are hostile."""
    record = run_record(
        [failed_pass(2, "on"), pass_record(2, "off", "mean_of_means"), pass_record(4, "on", "sum_of_means")]
    )
    failed = record.passes[0]
    assert failed.error is not None
    error = failed.error.model_copy(update={"kind": "Error", "message": HOSTILE})
    place = replace(record.oracle.loss_location[0], file=f"/x/{SCRIPT}.py", function=HOSTILE)
    return record.model_copy(
        update={
            "config": record.config.model_copy(update={"model": HOSTILE}),
            "model": record.model.model_copy(update={"name": HOSTILE, "class_name": HOSTILE, "stand_in": False}),
            "hardware": record.hardware.model_copy(update={"device_name": HOSTILE}),
            "environment": record.environment.model_copy(update={"packages": {"transformers": HOSTILE}}),
            "data": record.data.model_copy(update={"source": HOSTILE}),
            "oracle": record.oracle.model_copy(update={"loss_location": (place,)}),
            "passes": (failed.model_copy(update={"error": error}), *record.passes[1:]),
        }
    )


def large_run() -> RunRecord:
    """Make 8 k of 50 steps each, flag on and off, and an error of 500 characters and no space for some."""
    ks = (1, 2, 4, 8, 16, 32, 64, 128)
    rows = ROWS * 16
    passes = []
    for k in ks:
        for flag, rule in zip(FLAGS, ("sum_of_means", "mean_of_means"), strict=True):
            if k >= 64 and flag == "off":
                failed = failed_pass(k, flag)
                assert failed.error is not None
                error = failed.error.model_copy(update={"message": f"{k}" + "x" * 500})
                passes.append(failed.model_copy(update={"error": error}))
                continue
            made = pass_record(k, flag, rule, rows=rows, num_steps=50)
            # No two steps alike, as in a training.
            steps = tuple(
                replace(
                    s,
                    micro_batches=tuple(
                        replace(m, reported_loss_nats=m.reported_loss_nats / (1 + number / (9 + k)))
                        for m in s.micro_batches
                    ),
                )
                for number, s in enumerate(made.steps)
            )
            passes.append(made.model_copy(update={"steps": steps}))
    return run_record(passes, config={"effective_batch_size": 128, "max_steps": 50})


PAGES: dict[str, AnyTrainingRecord] = {
    "scaled": RECORDS["scaled"],
    "right": RECORDS["right"],
    "router": RECORDS["router"],
    "strange gradient": RECORDS["strange gradient"],
    "all failed": RECORDS["all failed"],
    "tail": RECORDS["tail"],
    "attached": attached_run("sum_of_means"),
    "hostile": hostile_run(),
    "large": large_run(),
}

_EVIL = Kind(HOSTILE, HOSTILE, HOSTILE, HOSTILE)

SURVEY_PAGES: dict[str, SurveyRecord] = {
    "survey": survey(many(282)),
    "survey of releases": SURVEYS["releases"],
    "survey of nothing": SURVEYS["nothing"],
    "hostile survey": survey([judged(_EVIL, "sum_of_means"), unjudged(Kind("evil", HOSTILE, HOSTILE), HOSTILE)]),
}
