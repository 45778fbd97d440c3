"""`gacheck attach` as a shell meets it. The children are one-line scripts; tests/integrations has real trainings."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import pytest

from gacheck.cli import main
from gacheck.record.attach import AttachRecord
from gacheck.record.journal import load_record, save_record
from gacheck.rules.facts import Flag, MicroBatchRecord, Observation, OwnLossFacts, StepRecord, WatchedTraining
from tests.builders import Gradient, attached_run, optimizer_step

GACHECK = (sys.executable, "-m", "gacheck.cli")


class Ended(NamedTuple):
    """Of a command: its exit code and what it said on stderr."""

    code: int
    said: str


Attach = Callable[..., Ended]


def attach(*arguments: str, folder: Path, input: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GACHECK, "attach", *arguments],
        cwd=folder,
        input=input,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Attach:
    """Do the same within this process, which has loaded what the program needs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def call(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as end:
            main(["attach", *arguments])
        return Ended(int(end.value.code or 0), capfd.readouterr().err)

    return call


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def training(rule: str = "sum_of_means") -> WatchedTraining:
    """Return what the process of a training tells whose losses follow a rule."""
    record = attached_run(rule)
    gradients = Gradient(rule).products(optimizer_step(4), 1)
    return WatchedTraining(
        python="3.9.1",
        platform="Linux",
        packages={"torch": "2.13.0", "transformers": "4.50.3"},
        model_name="/models/mine",
        model_class="MineForCausalLM",
        model_type="mine",
        num_parameters=1234,
        adapter=None,
        accepts_loss_kwargs_declared=None,
        forward_has_kwargs=True,
        trainer_class="train:MyTrainer",
        compute_loss_func="train:<lambda>",
        arguments={"gradient_accumulation_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-3},
        chosen_loss_kwargs=Flag.ON,
        loss_kwargs=Flag.ON,
        device="cpu",
        device_name="cpu",
        dtype="float32",
        autocast=None,
        num_processes=1,
        num_processes_seen=1,
        shifts=True,
        resolution=2.4e-7,
        repeat_error=0.0,
        own_loss=OwnLossFacts(is_asked=True),
        num_steps=2,
        steps=tuple(replace(step, gradients=gradients) for step in record.passes[0].steps),
        tried=None,
        loss_location=(),
        unseen=(),
        seconds=1.0,
    )


def telling(folder: Path, *trainings: WatchedTraining, exit_code: int = 0, then: str = "") -> tuple[str, ...]:
    """Return a command that tells of these trainings, as the watch in its process would, and then does something."""
    source = folder / "told"
    source.mkdir()
    for number, each in enumerate(trainings, 1):
        (source / f"training-1-{number}.json").write_text(json.dumps(asdict(each)))
    code = f"import os, shutil, sys; shutil.copytree({str(source)!r}, os.environ['GACHECK_ATTACH_FOLDER'], "
    return python(f"{code}dirs_exist_ok=True); {then}sys.exit({exit_code})")


@pytest.mark.parametrize("dashes", [("--",), ()], ids=["with --", "without"])
def test_the_command_is_run_as_it_is(tmp_path: Path, dashes: tuple[str, ...]) -> None:
    code = "import sys; print(sys.argv[1:], sys.stdin.read()); print('aside', file=sys.stderr); sys.exit(7)"
    done = attach(*dashes, *python(code), "--steps", "x", "--", "y", folder=tmp_path, input="words")

    assert done.stdout == "['--steps', 'x', '--', 'y'] words\n"
    assert done.stderr.startswith("aside\n")
    assert done.returncode == 7
    assert list(tmp_path.iterdir()) == []


def test_a_signal_s_code_is_that_of_a_shell(tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"

    assert attach("--", *python(code), folder=tmp_path).returncode == 128 + 15


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (python("pass"), "imported transformers.Trainer"),
        ((sys.executable, "-I", "-c", "pass"), "python -I"),
        (("true",), "python -I"),
    ],
    ids=["no Trainer", "isolated", "no Python"],
)
def test_where_nothing_is_seen_it_says_so(here: Attach, command: tuple[str, ...], said: str) -> None:
    done = here("--", *command)

    assert done.code == 3
    assert said in done.said
    assert "Traceback" not in done.said


@pytest.mark.parametrize(
    "arguments", [(), ("--", "no-such-program"), ("--steps", "0", "--", "true"), ("--out", "/proc/x", "--", "true")]
)
def test_what_cannot_be_carried_out_is_refused(here: Attach, arguments: tuple[str, ...]) -> None:
    done = here(*arguments)

    assert done.code == 2
    assert done.said
    assert "Traceback" not in done.said


def test_the_path_of_the_user_is_kept(tmp_path: Path) -> None:
    code = "import sys, os; print([p for p in sys.path if 'startup' in p], sys.path[1], os.environ['PYTHONPATH'])"
    done = attach("--", *python(code), folder=tmp_path, PYTHONPATH="/somewhere")
    found, first, variable = done.stdout.split()

    assert (found, first) == ("[]", "/somewhere")
    assert variable.endswith(f"startup{os.pathsep}/somewhere")


def test_the_verdict_stands_on_stderr_and_the_record_in_its_folder(tmp_path: Path) -> None:
    done = attach("--out", "mine", "--", *telling(tmp_path, training()), folder=tmp_path)
    record = load_record(tmp_path / "mine")

    assert (done.returncode, done.stdout) == (0, "")
    assert "FAIL  SCALED_BY_ACCUMULATION" in done.stderr
    assert "saved     mine/   record.json" in done.stderr
    assert (record.kind, record.model.name, record.environment.python) == ("attach", "/models/mine", "3.9.1")
    assert record.setup.trainer_class == "train:MyTrainer"
    assert record.setup.compute_loss_func is None  # a lambda has no name that can be imported
    shown = subprocess.run([*GACHECK, "report", "mine"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() in done.stderr


@pytest.mark.parametrize(
    ("rule", "options", "exit_code", "wanted"),
    [
        ("sum_of_means", (), 0, 0),
        ("sum_of_means", (), 5, 5),
        ("sum_of_means", ("--fail-on", "fail"), 0, 1),
        ("sum_of_means", ("--fail-on", "fail"), 5, 1),
        ("mean_of_means", ("--fail-on", "fail"), 0, 0),
        ("mean_of_means", ("--fail-on", "warn"), 0, 1),
        ("token_mean", ("--fail-on", "warn"), 0, 0),
        ("token_mean", ("--fail-on", "warn"), 5, 5),
    ],
)
def test_exit_codes(
    here: Attach, tmp_path: Path, rule: str, options: tuple[str, ...], exit_code: int, wanted: int
) -> None:
    command = telling(tmp_path, training(rule), exit_code=exit_code)

    assert here(*options, "--", *command).code == wanted


def test_what_could_not_be_judged_is_inconclusive(here: Attach, tmp_path: Path) -> None:
    told = training()
    blind = tuple(
        replace(s, micro_batches=tuple(replace(m, observation=None) for m in s.micro_batches)) for s in told.steps
    )
    command = telling(tmp_path, replace(told, steps=blind, unseen=("ValueError: no labels",)))
    done = here("--fail-on", "fail", "--", *command)

    assert done.code == 3
    assert "INCONCLUSIVE: nothing could be judged" in done.said
    assert "It could not be seen: no labels." in done.said


def test_several_trainings_have_a_folder_each(here: Attach, tmp_path: Path) -> None:
    command = telling(tmp_path, training("token_mean"), training("sum_of_means"))
    done = here("--out", "mine", "--fail-on", "fail", "--quiet", "--", *command)

    assert done.code == 1
    records = [load_record(tmp_path / name) for name in ("mine", "mine-2")]
    # Whoever repeats it wants neither this folder nor this exit code.
    assert [record.command for record in records] == [("gacheck", "attach", "--", *command)] * 2


def test_an_earlier_record_is_kept_unless_it_may_go(here: Attach, tmp_path: Path) -> None:
    save_record(attached_run("token_mean"), tmp_path)
    command = telling(tmp_path, training())
    refused = here("--out", ".", "--", *command)
    kept = load_record(tmp_path).model.name
    replaced = here("--out", ".", "--force", "--", *command)

    assert (refused.code, kept) == (2, attached_run("token_mean").model.name)
    assert (replaced.code, load_record(tmp_path).model.name) == (0, "/models/mine")


def test_a_loss_that_is_no_number_comes_through(here: Attach, tmp_path: Path) -> None:
    seen = Observation(("a",), 3, 4, float("inf"), None, float("nan"), None)
    step = StepRecord(1, (MicroBatchRecord(float("nan"), None, seen),), float("inf"))
    done = here("--out", "mine", "--", *telling(tmp_path, replace(training(), steps=(step,))))

    assert "NONFINITE" in done.said
    assert load_record(tmp_path / "mine").passes[0].steps[0].grad_norm == float("inf")


def test_all_that_was_told_is_recorded(here: Attach, tmp_path: Path) -> None:
    told = training("mean_of_means")
    unit = OwnLossFacts(unit="rows", times_k=False, is_asked=True)
    told = replace(told, tried=replace(told.steps[0], step=1, grad_norm=3.0), own_loss=unit, repeat_error=1e-7)
    here("--out", "mine", "--", *telling(tmp_path, told))
    record = load_record(tmp_path / "mine")

    assert isinstance(record, AttachRecord)
    [own], [tried] = record.passes, record.tried
    assert (own.steps, own.own_loss, own.unseen) == (told.steps, unit, ())
    assert own.steps[0].gradients
    # What was tried is a pass of its own, at the other value of the flag.
    assert (own.loss_kwargs, tried.loss_kwargs, tried.steps) == (Flag.ON, Flag.OFF, (told.tried,))
    assert (own.auto_loss_kwargs, tried.auto_loss_kwargs) == (Flag.ON, Flag.ON)
    assert record.oracle.noise.repeat == 1e-7


def test_facts_that_make_no_sense_do_not_end_in_a_traceback(here: Attach) -> None:
    code = "import os; open(os.environ['GACHECK_ATTACH_FOLDER'] + '/training-1-1.json', 'w').write('{}')"
    done = here("--", *python(code))

    assert done.code == 3
    assert "cannot be read" in done.said
    assert "Traceback" not in done.said


def test_what_the_first_steps_have_shown_is_said_while_the_training_goes_on(here: Attach, tmp_path: Path) -> None:
    slow = "import time; time.sleep(3); print('trained', file=sys.stderr, flush=True); "
    said = here("--", *telling(tmp_path, training(), then=slow)).said
    early, late = said.split("trained")

    found = re.fullmatch(
        r"gacheck: FAIL SCALED_BY_ACCUMULATION, loss ([\d.]+), right ([\d.]+); details: gacheck report (\S+)\n", early
    )
    assert found is not None, early
    assert float(found[1]) > 3 * float(found[2])
    assert load_record(tmp_path / found[3]).complete
    assert "FAIL  SCALED_BY_ACCUMULATION" in late
    assert "gacheck: FAIL" not in late


def test_of_a_training_that_ends_before_its_observed_steps_nothing_is_said_early(here: Attach, tmp_path: Path) -> None:
    told = training()
    said = here("--", *telling(tmp_path, replace(told, steps=told.steps[:1]))).said

    assert "gacheck: FAIL" not in said
    assert "FAIL  SCALED_BY_ACCUMULATION" in said
