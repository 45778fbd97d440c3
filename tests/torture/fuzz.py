"""Configurations and command lines that nobody would write: each ends in words, and with an exit code that means it.

The session is one without a model, so that what is fine after all is done in no time.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import typer
import yaml

from gacheck.cli import app
from gacheck.config import RunConfig
from gacheck.record.journal import save_record
from gacheck.record.parts import OracleRecord, PassRecord
from gacheck.record.plan import PassSpec
from tests.builders import ROWS, failed_pass, full_run
from tests.fakes import FakeSession
from tests.torture.outcome import Outcome, gacheck, problem_of

VALUES = (
    *("", " ", "0", "1", "-1", "2", "4", "8", "16", "1,2", "1,2,4,8", "0,1", "1,,2", ",", "1.5", "1e400", "nan", "inf"),
    *("true", "on", "off", "on,off", "off,off", "null", "none", "~", "[]", "{}", "[1, 2]", "{a: b}", "a: b", "- x"),
    *("tiny:llama", "tiny:", "tiny:nosuch", "TINY:llama", "gpt2", "a/b", "a/b/c", "/", ".", "..", "no/such/folder"),
    *("run", "file.txt", "text.jsonl", "options.yaml", "\x00", "\x1b[2J", "\ud800", "日本語", "é" * 300, "x" * 5000),
    *(
        "9" * 400,
        "-" * 50,
        "--",
        "---",
        "-k",
        "--json",
        "-h",
        "=",
        "a=b",
        "a=",
        "=b",
        "a=[",
        "a.b.c=1",
        "x:y",
        ":",
        "a:",
    ),
    *(
        "os:system",
        "os:nosuch",
        "nosuch:x",
        "%s",
        "{0}",
        "${HOME}",
        "$(id)",
        "`id`",
        "; ls",
        "'",
        '"',
        "\\",
        "\n",
        "\r\n",
    ),
    *("float32", "bf16", "float8", "cpu", "cuda", "cuda:99", "mps", "meta", "adamw_torch", "adam", "sgd", "causal-lm"),
)
OUTPUTS = ("out", "out/deeper", "run", "file.txt", "file.txt/x", "x" * 300, "\x00", "日本語", " ", "")
"""Where something is written: nowhere but in the folder that is there for it."""
WRITING = ("--out", "-o", "--output", "--log-file")
SAFE = ("run", "smoke", "report", "compare", "explain", "schema", "env")
"""Commands that may also get what is right; the others would begin to train, to install or to start programs."""
OTHERS = ("survey", "attach", "selftest", "bisect", "lint", "models", "releases")
FORMATS = ("terminal", "json", "csv", "markdown", "html", "nosuch", "")
WORDS = ("OK", "UNEXPLAINED", "record", "analysis", "run", "nosuch", "--help", "--version")


def of_command_lines(most: int, folder: Path) -> Outcome:
    """Call commands with options and values of all sorts."""
    generator = random.Random(1)
    commands: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    options = {name: _options(commands[name]) for name in (*SAFE, *OTHERS)}
    outcome = Outcome()
    with _workplace(folder):
        for _ in range(most):
            words = _command_line(generator, options)
            code, out, err = gacheck(*words)
            outcome.note(repr(words), problem_of(code, out + err))
    return outcome


def of_configurations(most: int, folder: Path) -> Outcome:
    """Call `run` and `smoke` with option files of all sorts."""
    generator = random.Random(2)
    outcome = Outcome()
    with _workplace(folder):
        for _ in range(most):
            content = _option_file(generator)
            Path("options.yaml").write_bytes(content)
            command = generator.choice(("run", "smoke"))
            code, out, err = gacheck(command, "--config", "options.yaml")
            outcome.note(f"{command} with {content[:200]!r}", problem_of(code, out + err))
    return outcome


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[None]:
    """Work in a folder with some things in it, without models and pictures."""
    import gacheck.measure.launching
    import gacheck.measure.session  # noqa: F401 - what is replaced has to be there

    before = Path.cwd()
    os.chdir(folder)
    try:
        Path("run").mkdir()
        save_record(full_run("token_mean", "mean_of_means"), Path("run"))
        Path("file.txt").write_text("words\n", encoding="utf-8")
        Path("text.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
        with (
            mock.patch("gacheck.measure.session.Session", _Session),
            mock.patch("gacheck.reporters.picture.render_picture", return_value=b""),
            mock.patch("gacheck.measure.isolation.session.IsolatedSession", _refused),
            mock.patch("gacheck.measure.launching.launch", _refused),
            mock.patch.dict(os.environ, {"HF_HUB_OFFLINE": "1", "COLUMNS": "80"}),
        ):
            yield
    finally:
        os.chdir(before)


class _Session(FakeSession):
    """Has eight rows a step."""

    def run_pass(self, spec: PassSpec, oracle: OracleRecord, step_done: Callable[[], None]) -> PassRecord:
        if spec.accumulation_steps > len(ROWS):
            return failed_pass(spec.accumulation_steps, spec.loss_kwargs)
        return super().run_pass(spec, oracle, step_done)


def _refused(*given: object, **more: object) -> None:
    from gacheck.errors import ConfigError

    raise ConfigError("No other process is started here.", why="There are ten thousand of these.", fix="leave it")


def _options(command: Any) -> list[tuple[str, bool]]:
    """Return the options of a command, and whether each takes a value."""
    return [
        (name, not getattr(each, "is_flag", False))
        for each in command.params
        for name in (*each.opts, *each.secondary_opts)
        if name.startswith("-") and name != "--traceback"  # what asks for a traceback gets one
    ]


def _command_line(generator: random.Random, options: dict[str, list[tuple[str, bool]]]) -> list[str]:
    if generator.random() < 0.05:
        return [generator.choice((*VALUES, *WORDS)) for _ in range(generator.randrange(4))]
    name = generator.choice(SAFE * 4 + OTHERS)
    words = [name]
    for _ in range(generator.choice((0, 1, 1, 2, 3, 5))):
        option, takes_value = generator.choice(options[name] or [("--help", False)])
        words += _given(generator, option, takes_value)
    if generator.random() < 0.5:
        words.append(generator.choice((*VALUES, *WORDS)))
    # What would begin something is never right as a whole.
    return words if name in SAFE else [name, "--no-such-option", *words[1:]]


def _given(generator: random.Random, option: str, takes_value: bool) -> list[str]:
    if option in WRITING:
        value = generator.choice(OUTPUTS)
    elif option == "--format":
        value = generator.choice(FORMATS)
    else:
        value = generator.choice(VALUES)
    style = generator.random()
    if not takes_value:
        return [option] if style < 0.95 else [f"{option}={value}"]
    if style < 0.45:
        return [option, value]
    return [f"{option}={value}"] if style < 0.95 or option in WRITING else [option]


def _option_file(generator: random.Random) -> bytes:
    kind = generator.random()
    names = [field.alias or name for name, field in RunConfig.model_fields.items() if name != "out"]
    if kind < 0.6:  # right but for a value or a key
        chosen = generator.sample(names, generator.randrange(1, 5))
        lines = [f"{name}: {generator.choice(VALUES)}" for name in chosen]
        if generator.random() < 0.2:
            lines.append(
                generator.choice(("out: out", "max_stepz: 1", "k: 4", "? x", "<<: *a", "&a x: *a", "\t- x", "..."))
            )
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    if kind < 0.8:  # what YAML itself can write
        content = {name: _value(generator, 0) for name in generator.sample(names, generator.randrange(1, 4))}
        return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass")
    if kind < 0.9:
        return generator.randbytes(generator.randrange(200))
    signs = "[]{}&*!|>'\"%@`:-,?#\n\t =~0aé\x00"
    return "".join(generator.choice(signs) for _ in range(generator.randrange(300))).encode()


def _value(generator: random.Random, depth: int) -> Any:
    kinds = ["int", "float", "text", "bool", "none", "date", *(["list", "dict"] if depth < 3 else [])]
    kind = generator.choice(kinds)
    if kind == "list":
        return [_value(generator, depth + 1) for _ in range(generator.randrange(4))]
    if kind == "dict":
        return {generator.choice(VALUES[:20]): _value(generator, depth + 1) for _ in range(generator.randrange(3))}
    made: dict[str, Any] = {
        "int": generator.choice((0, 1, -1, 8, 2**31, 2**64, -(10**30))),
        "float": generator.choice((0.0, -0.5, 1e-300, 1e300, float("inf"), float("nan"))),
        "text": "".join(c for c in generator.choice(VALUES) if c.isprintable()),
        "bool": generator.random() < 0.5,
        "none": None,
        "date": generator.choice(("2024-01-01", "12:30:45", "0o17", "0x1F", "1_000")),
    }
    return made[kind]
