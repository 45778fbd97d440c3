"""docs/cli.md and docs/record.md are what the program says of itself today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import BaseModel

from gacheck.cli import app
from gacheck.config import RunConfig
from gacheck.record.kinds import KINDS
from gacheck.record.parts import SCHEMA_VERSION, Raw
from gacheck.rules.facts import Flag
from tests.makers import load_maker

ROOT = Path(__file__).parents[1]


MAKER = load_maker("make_reference")
CLI: str = MAKER.cli_page()
RECORD: str = MAKER.record_page()


def test_the_pages_are_not_stale() -> None:
    stale = [n for n, make in MAKER.PAGES.items() if (ROOT / "docs" / n).read_text(encoding="utf-8") != make()]

    assert stale == [], "run  make reference"


def test_the_pages_do_not_depend_on_the_terminal() -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'docs')!r}); import make_reference as m; print(m.cli_page())"
    environment = {"COLUMNS": "30", "TERM": "xterm-256color", "FORCE_COLOR": "1", "PYTHONIOENCODING": "utf-8"}

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)

    assert done.stdout.decode() == CLI + "\n"


def section(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_every_option_of_every_command_has_its_row() -> None:
    group: Any = typer.main.get_command(app)
    commands = dict(group.commands)

    assert {"run", "report", "env"} <= set(commands)
    for name, command in commands.items():
        below = section(CLI, f"gacheck {name}")
        for parameter in command.params:
            if getattr(parameter, "hidden", False):
                continue
            names = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]
            assert [n for n in names if f"`{n}`" not in below] == []


def test_rows_of_the_commands() -> None:
    rows = [
        "| `--max-steps` | `INT` | optimizer steps per pass | 8 |",
        "| `--gradient-accumulation-steps`, `-k` | `LIST` | accumulation steps to compare | 1,2,4,8 |",
        "| `--exit-zero` | | exit 0 whatever the verdict | |",
        "| `--dtype` | `float32\\|bfloat16\\|float16\\|float64` | dtype of the weights | float32 |",
        "| `RUN` | a run's folder or its record.json | the newest under gacheck-runs/ |",
        # The values of an enum that may be left out, and a number: both are read off the signature.
        "| `--fail-on` | `fail\\|warn` | exit 1 if the verdict fails, or warns; 3 if nothing could be judged | |",
        "| `--steps` | `INT` | optimizer steps to observe, from the first on | 2 |",
        "| 130 | interrupted |",
        "| `RecordError` | 2 | A record is missing, damaged, foreign or written by a newer gacheck. |",
    ]

    assert [row for row in rows if row not in CLI.splitlines()] == []


def test_panels_are_headings() -> None:
    panels = {
        field.json_schema_extra["panel"]
        for field in RunConfig.model_fields.values()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra["panel"]
    }

    assert panels
    assert [panel for panel in panels if f"\n### {panel}\n" not in section(CLI, "gacheck run")] == []


def subclasses(model: type[Any]) -> set[type[Any]]:
    return {model}.union(*map(subclasses, model.__subclasses__()))


def test_every_field_of_every_part_of_a_record_has_its_row() -> None:
    of_records = {each for each in subclasses(Raw) if each.__module__.startswith("gacheck.")}
    models = [each for each in of_records if not each.__subclasses__()]

    assert set(KINDS.values()) < set(models)
    missing = [
        f"{model.__name__}.{name}"
        for model in models
        for name in model.model_fields
        if f"\n| `{name}` | " not in section(RECORD, model.__name__)
    ]
    assert missing == []


def test_rows_of_the_record() -> None:
    rows = [
        "| `grad_norm` | number or null | Before clipping. | |",
        "| `noise` | [Noise](#noise) | | |",
        '| `loss_kwargs` | list of `"on"` or `"off"` | values of model_accepts_loss_kwargs to try | `["on", "off"]` |',
        '| `auto_loss_kwargs` | `"on"` or `"off"` or null | The flag that the Trainer chose itself, before it was set. '
        "| `null` |",
        # Inherited by both kinds of record.
        "| `created_at` | string | Local time, ISO 8601. | |",
    ]

    assert [row for row in rows if row not in RECORD.splitlines()] == []


def test_the_record_page_speaks_json() -> None:
    assert f"schema version {SCHEMA_VERSION}" in RECORD
    assert "None" not in RECORD


class Planted(BaseModel):
    """A model to read."""

    plain: int
    told: str = "x"
    """Two lines
    of text."""
    last: float | None = None
    """The end."""


class Heir(Planted):
    """Inherits, and says one thing anew."""

    last: float | None = None
    """Another end."""


def test_docstrings_belong_to_the_field_above() -> None:
    assert MAKER.attribute_docstrings(Planted) == {"told": "Two lines of text.", "last": "The end."}
    assert MAKER.attribute_docstrings(Heir) == {"told": "Two lines of text.", "last": "Another end."}


def test_types_in_words() -> None:
    said: dict[Any, str] = {
        int: "integer",
        float | None: "number or null",
        tuple[str, ...]: "list of string",
        tuple[int, float]: "list of 2: integer, number",
        dict[str, Any]: "object: string → anything",
        Annotated[bool, "x"]: "true or false",
        Literal["a", "b"]: '`"a"` or `"b"`',
        Flag: '`"on"` or `"off"`',
        tuple[Planted, ...]: "list of [Planted](#planted)",
    }

    assert {annotation: MAKER.json_type(annotation) for annotation in said} == said


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(TypeError, match="no name in JSON"):
        MAKER.json_type(complex)


def test_a_pipe_ends_no_cell() -> None:
    assert MAKER.table(("a", "b"), [("`x|y`", "")]).splitlines()[-1] == "| `x\\|y` | |"
