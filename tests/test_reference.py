"""docs/cli.md and docs/record.md are what the program says of itself today."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import BaseModel

from gacheck import record
from gacheck.cli import app
from gacheck.config import RunConfig

ROOT = Path(__file__).parents[1]


def load_maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MAKER = load_maker()
CLI: str = MAKER.cli_page()
RECORD: str = MAKER.record_page()


@pytest.mark.parametrize("name", MAKER.PAGES)
def test_the_page_is_not_stale(name: str) -> None:
    stored = (ROOT / "docs" / name).read_text(encoding="utf-8")

    assert stored == MAKER.PAGES[name](), "run  make reference"


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
            names = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]
            assert [n for n in names if f"`{n}`" not in below] == []


@pytest.mark.parametrize(
    "row",
    [
        "| `--max-steps` | `INT` | optimizer steps per pass | 8 |",
        "| `--gradient-accumulation-steps`, `-k` | `LIST` | accumulation steps to compare | 1,2,4,8 |",
        "| `--exit-zero` | | exit 0 whatever the verdict | |",
        "| `--dtype` | `float32\\|bfloat16\\|float16` | dtype of the weights | float32 |",
        "| `--format` | `terminal\\|json\\|markdown\\|csv\\|png\\|svg` | what to make of it | terminal |",
        "| `RUN` | a run's folder or its record.json | the newest under gacheck-runs/ |",
        "| 130 | interrupted |",
        "| `RecordError` | 2 | A record is missing, damaged, foreign or written by a newer gacheck. |",
    ],
)
def test_rows_of_the_commands(row: str) -> None:
    assert row in CLI.splitlines()


def test_panels_are_headings() -> None:
    panels = {
        field.json_schema_extra["panel"]
        for field in RunConfig.model_fields.values()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra["panel"]
    }

    assert panels
    assert [panel for panel in panels if f"\n### {panel}\n" not in section(CLI, "gacheck run")] == []


def test_every_field_of_every_model_has_its_row() -> None:
    models = [m for m in vars(record).values() if isinstance(m, type) and issubclass(m, record.Raw)]
    models.remove(record.Raw)

    assert len(models) > 10
    for model in models:
        below = section(RECORD, model.__name__)
        assert [name for name in model.model_fields if f"\n| `{name}` | " not in below] == []


@pytest.mark.parametrize(
    "row",
    [
        "| `grad_norm` | number or null | Before clipping. |",
        "| `noise` | [Noise](#noise) | |",
        '| `loss_kwargs` | list of `"on"` or `"off"` | values of model_accepts_loss_kwargs to try | `["on", "off"]` |',
        "| `gradient_norms` | object: integer → number | Rows in the first step -> norm of the right gradient over "
        "them. |",
        "| `forward_has_kwargs` | true or false | Whether the forward takes `**kwargs`, from which the Trainer infers "
        "the flag. | |",
    ],
)
def test_rows_of_the_record(row: str) -> None:
    assert row in RECORD.splitlines()


def test_the_record_page_says_how_it_is_stored() -> None:
    assert '"NaN", "Infinity" and "-Infinity"' in RECORD
    assert "leaves the old or the new one whole" in RECORD
    assert f"schema version {record.SCHEMA_VERSION}" in RECORD
    assert "None" not in RECORD


class Planted(BaseModel):
    """A model to read."""

    plain: int
    told: str = "x"
    """Two lines
    of text."""
    last: float | None = None
    """The end."""


def test_docstrings_belong_to_the_field_above() -> None:
    assert MAKER.attribute_docstrings(Planted) == {"told": "Two lines of text.", "last": "The end."}


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (int, "integer"),
        (float | None, "number or null"),
        (tuple[str, ...], "list of string"),
        (tuple[int, float], "list of 2: integer, number"),
        (dict[str, Any], "object: string → anything"),
        (Annotated[bool, "x"], "true or false"),
        (Literal["a", "b"], '`"a"` or `"b"`'),
        (tuple[Planted, ...], "list of [Planted](#planted)"),
    ],
)
def test_types_in_words(annotation: Any, said: str) -> None:
    assert MAKER.json_type(annotation) == said


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(TypeError, match="no name in JSON"):
        MAKER.json_type(complex)


def test_a_pipe_ends_no_cell() -> None:
    assert MAKER.table(("a", "b"), [("`x|y`", "")]).splitlines()[-1] == "| `x\\|y` | |"
