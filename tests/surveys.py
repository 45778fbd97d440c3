"""Records of surveys made by rules instead of trainings: what each class would have shown if these rules held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gacheck.record.run import RunRecord
from gacheck.record.survey import SurveyItem, SurveyRecord, SurveyRow
from gacheck.rules.task import CAUSAL_LM
from tests.builders import Gradient, failed_pass, oracle, pass_record, run_record

OLD, MIDDLE, NEW = "4.50.3", "4.57.6", "5.24.0"
"""Releases of transformers: the first with the fault of Gemma3, one in which it is better, one in which it is gone."""

SURVEY_K = 4


@dataclass(frozen=True)
class Kind:
    """A class of models, and where it is from."""

    name: str
    class_name: str
    model_type: str
    task: str = CAUSAL_LM.name

    def item(self, release: str = NEW) -> SurveyItem:
        """Return what a survey of a release has to judge."""
        return SurveyItem(
            name=self.name,
            task=self.task,
            transformers=release,
            model_type=self.model_type,
            class_name=self.class_name,
        )


GEMMA3 = Kind("gemma3", "Gemma3ForConditionalGeneration", "gemma3")
GEMMA3_TEXT = Kind("gemma3_text", "Gemma3ForCausalLM", "gemma3_text")
LLAMA = Kind("llama", "LlamaForCausalLM", "llama")
T5 = Kind("T5ForConditionalGeneration", "T5ForConditionalGeneration", "t5", "seq2seq-lm")
BERT = Kind("BertForTokenClassification", "BertForTokenClassification", "bert", "token-classification")
NEMOTRON = Kind("nemotron_h", "NemotronHForCausalLM", "nemotron_h")
KOSMOS = Kind("kosmos-2", "Kosmos2ForConditionalGeneration", "kosmos-2")


def training(kind: Kind, release: str, on: str, off: str, *, auto: bool = True) -> RunRecord:
    """Make the short training of a class: two steps at k = 4, the rules that hold with the flag on and off.

    The rule `failed` is of a pass that failed.
    """
    rules = (("on", on), ("off", off))
    passes = [
        failed_pass(SURVEY_K, flag, auto=auto)  # type: ignore[arg-type]
        if rule == "failed"
        else pass_record(SURVEY_K, flag, rule, auto=auto, gradient=Gradient(rule))  # type: ignore[arg-type]
        for flag, rule in rules
    ]
    made = run_record(passes, oracle_record=oracle(used=on == "token_mean"))
    packages = {**made.environment.packages, "transformers": release}
    name = f"tiny:{kind.name}"
    facts = {"name": name, "class_name": kind.class_name, "model_type": kind.model_type, "task": kind.task}
    return made.model_copy(
        update={
            "command": ("gacheck", "run", "--model", name, "-k", str(SURVEY_K), "--max-steps", "2"),
            "config": made.config.model_copy(update={"model": name}),
            "environment": made.environment.model_copy(update={"packages": packages}),
            "model": made.model.model_copy(update=facts),
        }
    )


def judged(
    kind: Kind, on: str, off: str = "mean_of_means", *, release: str = NEW, auto: bool = True, seconds: float = 1.5
) -> SurveyRow:
    """Make the row of a class that was trained."""
    return SurveyRow(item=kind.item(release), seconds=seconds, training=training(kind, release, on, off, auto=auto))


def unjudged(kind: Kind, reason: str, *, release: str = NEW, seconds: float = 0.5) -> SurveyRow:
    """Make the row of a class that could not be trained."""
    return SurveyRow(item=kind.item(release), seconds=seconds, reason=reason)


def survey(rows: Sequence[SurveyRow], *, missing: Iterable[SurveyItem] = ()) -> SurveyRecord:
    """Make a survey of these rows; `missing` are the items of its plan that have none yet."""
    environment = run_record([]).environment
    return SurveyRecord(
        created_at="2026-01-02T03:04:05+00:00",
        command=("gacheck", "survey"),
        environment=environment,
        time_limit_seconds=60.0,
        memory_limit_bytes=2 * 1024**3,
        items=(*(row.item for row in rows), *missing),
        rows=tuple(rows),
    )
