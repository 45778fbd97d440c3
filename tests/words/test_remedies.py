"""What a verdict names exists: every option, command, attribute, argument and release, at every door.

Each check lists what is wrong in a text, so that a planted text can show that it is found.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from types import CodeType
from typing import Any

import pytest
import typer
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, Trainer, TrainingArguments

from gacheck.cli import app
from gacheck.measure.passes.snapshot import accelerate_kept
from gacheck.record.attach import AttachRecord
from gacheck.record.kinds import AnyTrainingRecord
from gacheck.words.analysis import analyse
from gacheck.words.verdict import Words
from tests.builders import WORST_PARAMETER
from tests.core.cases import CASES
from tests.words.cases import CULPRITS

RECORDS: dict[str, Callable[[], AnyTrainingRecord]] = {**{f"core: {n}": c[0] for n, c in CASES.items()}, **CULPRITS}

# What a person typed; the program in code is somebody's own.
DOORS = {
    "run": ("gacheck", "run", "--model", "tiny:gemma3"),
    "smoke": ("gacheck", "smoke"),
    "attach": ("gacheck", "attach", "--", "python", "train.py"),
    "code": ("train.py",),
}

# Releases that are known to be right, and from where.
KNOWN_RELEASES = {
    "4.48": "known-cases, when it changed: divided before backward when off",
    "4.55": "known-cases, when it changed: a short last step divides by its real length",
    "5.14.1": "known-cases, how the Trainer decides: counts labels[..., 1:] when the model's loss shifts",
    "5.17.0": "gacheck bisect tiny:gemma3: MEAN_OF_MEANS in 5.16.1, OK from here on",
    "5.24.0": "docs/faults.md, other_objective: Llama with label smoothing; and run with --short-last-step",
}

OPTION = re.compile(r"(?<![\w<-])--[a-z][a-z0-9-]*")
COMMAND = re.compile(r"\bgacheck ([a-z]+)\b")
ATTRIBUTE = re.compile(r"\b(trainer|model|self|super\(\)|[A-Z]\w+)\.([a-z]\w+)")
ARGUMENT = re.compile(r"\b([a-z]\w+)=(?:True|False|\d[\d.]*\b)")
RELEASE = re.compile(r"\btransformers to (\d+(?:\.\d+)*)")
EXCEPTION = re.compile(r"\b[A-Z]\w*(?:Error|Exception|Interrupt)\b")


def words_at(record: AnyTrainingRecord, door: str) -> Words:
    return analyse(record.model_copy(update={"command": DOORS[door]})).verdict.words


def texts_of(words: Words) -> list[str]:
    remedy = words.remedy
    places = (remedy.trainer, remedy.model_class, remedy.llamafactory, remedy.trl)
    texts = [words.summary, words.cause, words.impact, words.fix, *words.notes, *filter(None, places)]
    # A parameter's name is a path of attributes of some model.
    return [line.replace(WORST_PARAMETER, "") for text in texts for line in text.split("\n")]


# Options and commands


@cache
def options() -> dict[str, set[str]]:
    group: Any = typer.main.get_command(app)
    return {
        name: {option for p in each.params for option in (*p.opts, *p.secondary_opts)}
        for name, each in group.commands.items()
    }


def unknown_options(text: str, door: str) -> Iterator[str]:
    """Yield what cannot be typed: an option belongs to the command before it, or else to the door's."""
    commands = list(COMMAND.finditer(text))
    yield from (f"no command {c[1]}" for c in commands if c[1] not in options())
    for option in OPTION.finditer(text):
        before = [c[1] for c in commands if c.start() < option.start()]
        command = before[-1] if before else door
        if option[0] not in options().get(command, set()):
            yield f"no option {option[0]} of {command}"


# Attributes and arguments


@cache
def real_trainer() -> Any:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, pad_token_id=0, **sizes))
    with accelerate_kept():
        return Trainer(model=model, args=TrainingArguments("out", use_cpu=True, report_to="none"))


def codes_within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_within(constant)


@cache
def read_by_the_trainer() -> set[str]:
    """Return the names of all attributes that the Trainer's code speaks of, be they its own or its model's."""
    functions = (inspect.unwrap(each) for each in vars(Trainer).values() if callable(each))
    codes = [code for f in functions if hasattr(f, "__code__") for code in codes_within(f.__code__)]
    return {name for code in codes for name in (*code.co_names, *(c for c in code.co_consts if isinstance(c, str)))}


# What a later release has, by which its name is read there; nobody is told of it who has an earlier one.
LATER = {
    "accepts_loss_kwargs",
    "average_tokens_across_devices",
    "current_gradient_accumulation_steps",
    "loss_is_scaled_for_ga",
    "loss_type",
}
OF_PEFT = {"get_base_model"}


def unknown_attributes(text: str) -> Iterator[str]:
    trainer = real_trainer()
    for owner, name in ATTRIBUTE.findall(text):
        has_it = hasattr(trainer, name) or name in read_by_the_trainer() or hasattr(trainer.model, name)
        if not has_it and name not in OF_PEFT and not (name in LATER and is_old()):
            yield f"no attribute {owner}.{name}"


def is_old() -> bool:
    return tuple(map(int, metadata.version("transformers").split(".")[:2])) < (5, 19)


def unknown_arguments(text: str) -> Iterator[str]:
    known = set(inspect.signature(TrainingArguments).parameters)
    known |= LATER if is_old() else set()
    yield from (f"no training argument {name}" for name in ARGUMENT.findall(text) if name not in known)


# Releases


def unknown_releases(text: str) -> Iterator[str]:
    yield from (f"not known to be right: {each}" for each in RELEASE.findall(text) if each not in KNOWN_RELEASES)


def doors_of(record: AnyTrainingRecord) -> tuple[str, ...]:
    return ("attach", "code") if isinstance(record, AttachRecord) else ("run", "smoke", "code")


def wrong(text: str, door: str) -> Iterator[str]:
    yield from unknown_options(text, door)
    yield from unknown_attributes(text)
    yield from unknown_arguments(text)
    yield from unknown_releases(text)
    yield from (f"the name of an exception: {name}" for name in EXCEPTION.findall(text))


@pytest.mark.parametrize("name", RECORDS)
def test_what_a_verdict_names_exists(name: str) -> None:
    record = RECORDS[name]()

    assert [
        f"{door}: {each}: {text}"
        for door in doors_of(record)
        for text in texts_of(words_at(record, door))
        for each in wrong(text, door)
    ] == []


@pytest.mark.parametrize("name", RECORDS)
def test_nobody_is_told_to_upgrade_to_what_is_installed(name: str) -> None:
    record = RECORDS[name]()
    installed = record.environment.packages["transformers"]
    advised = RELEASE.findall(" ".join(texts_of(words_at(record, doors_of(record)[0]))))

    assert all(tuple(map(int, each.split("."))) > tuple(map(int, installed.split("."))) for each in advised)


@pytest.mark.parametrize("name", RECORDS)
def test_a_run_is_advised_only_where_it_builds_the_class_that_trains(name: str) -> None:
    record = RECORDS[name]()
    advised = any("gacheck run" in text for door in doors_of(record) for text in texts_of(words_at(record, door)))

    assert not advised or (record.model.built_by_auto_class and record.model.adapter is None)


def test_what_calls_on_takes_what_it_is_handed() -> None:
    # As super().compute_loss(model, inputs, return_outputs, num_items_in_batch=…) and the like.
    assert list(inspect.signature(Trainer.compute_loss).parameters)[1:5] == [
        "model",
        "inputs",
        "return_outputs",
        "num_items_in_batch",
    ]
    assert list(inspect.signature(Trainer.training_step).parameters)[1:4] == ["model", "inputs", "num_items_in_batch"]


def test_what_is_named_by_itself_exists() -> None:
    said = " ".join(text for make in CULPRITS.values() for text in texts_of(analyse(make()).verdict.words))

    assert "router_aux_loss_coef" in said
    assert hasattr(MixtralConfig(), "router_aux_loss_coef")
    assert "model.get_base_model()" in said
    assert hasattr(pytest.importorskip("peft").PeftModel, "get_base_model")


def test_every_known_release_is_advised_somewhere() -> None:
    said = " ".join(text for make in CULPRITS.values() for text in texts_of(analyse(make()).verdict.words))

    assert set(RELEASE.findall(said)) == set(KNOWN_RELEASES)


@pytest.mark.parametrize(
    ("text", "door"),
    [
        ("add  --no-such", "run"),
        ("go on with  --resume", "smoke"),
        ("add  --loss-kwargs on,off", "attach"),
        ("add  --loss-kwargs on,off", "code"),
        ("see  gacheck dance", "run"),
        ("measure it:  gacheck smoke --max-steps 1", "code"),
        ("trainer.model_accepts_kwargs = False", "run"),
        ('model.lose_type = "ForCausalLM"', "run"),
        ("loss / self.args_of_steps", "run"),
        ("MixtralForCausalLM.takes_loss_kwargs = True", "run"),
        ("average_tokens=True in the training arguments", "run"),
        ("Upgrade transformers to 5.1.0 or later", "run"),
        ("k4-on ended with RuntimeError: boom", "run"),
    ],
)
def test_what_does_not_exist_is_found(text: str, door: str) -> None:
    assert len(list(wrong(text, door))) == 1
