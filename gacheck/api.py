"""gacheck in code: watch a Trainer before it trains, or check a model or a Trainer once."""

from __future__ import annotations

import functools
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gacheck.attached.record import record_of
from gacheck.config import ExperimentConfig, make_experiment
from gacheck.errors import ConfigError, FaultError, ModelError, NothingSeenError
from gacheck.record.command import ATTACH, CHECK_MODEL, CHECK_TRAINER, SMOKE, smoke_command
from gacheck.record.journal import save_record
from gacheck.reporters.line import render_line
from gacheck.reporters.reporter import View
from gacheck.reporters.terminal import render_verdict
from gacheck.words.analysis import Analysis, analyse

if TYPE_CHECKING:
    from gacheck.rules.facts import WatchedTraining

OnFault = Literal["warn", "raise"]
OnFound = Literal["return", "raise"]

(ACCUMULATION_STEPS,) = SMOKE["gradient_accumulation_steps"]


class FaultWarning(UserWarning):
    """A training normalises its loss wrongly, or nothing can be said of it."""


class Attachment:
    """A Trainer under watch.

    Attributes:
        analysis: What was found so far; None before the end of the first optimizer step.
    """

    def __init__(self, trainer: Any, *, steps: int, on_fault: OnFault, out: Path | None) -> None:
        from gacheck.watch.watch import Watch

        self.analysis: Analysis | None = None
        self._on_fault = on_fault
        self._out = out
        self._watch = Watch(trainer, num_steps=steps, seen=self._seen)
        train, had_own = trainer.train, "train" in vars(trainer)

        @functools.wraps(train)
        def trained(*args: Any, **kwargs: Any) -> Any:
            if had_own:
                trainer.train = train
            else:
                del trainer.train
            result = train(*args, **kwargs)
            self._watch.finish()
            return result

        trainer.train = trained

    def __repr__(self) -> str:
        return f"<Attachment: {self.analysis!r}>" if self.analysis else "<Attachment: nothing seen yet>"

    def _seen(self, facts: WatchedTraining, is_last: bool) -> None:
        record = record_of(facts, (ATTACH,))
        self.analysis = analyse(record)
        verdict = self.analysis.verdict
        # What no rule explains may be explained by the steps to come.
        is_certain = is_last or verdict.code != "UNEXPLAINED"
        stops = self._on_fault == "raise" and verdict.severity == "fail" and is_certain
        if (is_last or stops) and self._watch.rank == 0:
            if self._out is not None:
                self._out.mkdir(parents=True, exist_ok=True)
                save_record(record, self._out)
            if not stops:
                self._tell()
        if stops:
            self._watch.let_go()
            raise fault_of(self.analysis)

    def _tell(self) -> None:
        assert self.analysis is not None
        text = render_verdict(self.analysis, View()).rstrip()
        if self.analysis.ok:
            print(f"gacheck: {text.splitlines()[0]}", file=sys.stderr)
        else:
            warnings.warn(f"gacheck:\n{text}", FaultWarning, stacklevel=2)


def attach(trainer: Any, *, steps: int = 2, on_fault: OnFault = "warn", out: str | Path | None = None) -> Attachment:
    """Watch the first optimizer steps of a Trainer; call it before `trainer.train()`.

    The training itself stays as it is, bit for bit. With several processes call it in each; rank 0 speaks.

    Args:
        trainer: A `transformers.Trainer` or an instance of any subclass.
        steps: How many optimizer steps to observe.
        on_fault: `warn` warns with the verdict; `raise` ends the training at the first step that shows a fault.
        out: Folder for record.json, which `gacheck report` reads; none is written without.

    Returns:
        A handle, whose `analysis` is there once the first step is done.

    Raises:
        ConfigError: A value is out of range.
        FaultError: From within `trainer.train()`, with `on_fault="raise"`.
    """
    if steps < 1 or on_fault not in ("warn", "raise"):
        wrong = f"steps is {steps}" if steps < 1 else f"on_fault is {on_fault!r}"
        raise ConfigError(f"{wrong}.", why="Nothing can be watched so.", fix='steps=2, on_fault="warn" or "raise"')
    if not hasattr(trainer, "training_step"):
        raise ConfigError(
            f"gacheck.attach takes a Trainer, and is given {type(trainer).__name__}.",
            why="It watches the steps that a transformers.Trainer does.",
            fix="hand over the Trainer; of a model alone ask  gacheck.check(model)",
        )
    return Attachment(trainer, steps=steps, on_fault=on_fault, out=None if out is None else Path(out))


def fault_of(analysis: Analysis) -> FaultError:
    """Make an error of a verdict."""
    verdict = analysis.verdict
    return FaultError(
        f"{verdict.code}: {verdict.words.summary}",
        why=verdict.words.cause,
        fix=verdict.words.fix.split("\n")[0],
        line=render_line(analysis),
        verdict=render_verdict(analysis, View()).rstrip(),
    )


def raise_fault(analysis: Analysis, *, strict: bool = False) -> None:
    """Raise a verdict that fails or cannot be given; where it is to be strict, also one that warns.

    Raises:
        FaultError: So it is.
    """
    __tracebackhide__ = True
    severity = analysis.verdict.severity
    if severity in ("fail", "inconclusive") or (strict and severity != "ok"):
        raise fault_of(analysis)


def check(
    model_or_trainer: Any,
    *,
    tokenizer: Any = None,
    gradient_accumulation_steps: int = ACCUMULATION_STEPS,
    on_fault: OnFound = "return",
) -> Analysis:
    """Check a model or a Trainer once; `assert gacheck.check(model).ok` is a test.

    A model is trained for two steps on text of Python's own, under the Trainer of the installed transformers, at
    `gradient_accumulation_steps`. A Trainer does the forwards and backwards of its own first two steps, on its own
    data, without their updates. A name is measured as by `gacheck smoke --model`.
    All is as it was afterwards: weights, random state, hooks, the Trainer's state.

    Args:
        model_or_trainer: A causal language model, a `transformers.Trainer` that has not trained yet, or a model's
            name as the command line takes it: `tiny:llama`, a folder, a hub id.
        tokenizer: The model's; without it one of bytes is made on the spot. A Trainer needs none.
        gradient_accumulation_steps: For a model; a Trainer has its own.
        on_fault: `return` leaves it to you to ask for the verdict; `raise` makes an error of one that fails or
            cannot be given.

    Returns:
        The analysis: `ok`, and `verdict` with code, words and fix.

    Raises:
        ConfigError: A value is out of range.
        FaultError: With `on_fault="raise"`.
        ModelError: The model cannot be trained on text.
        UserCodeError: Code of the model's or of the training's own raised something.
        NothingSeenError: The Trainer came to no end of an optimizer step.
    """
    __tracebackhide__ = True
    if on_fault not in ("return", "raise"):
        raise ConfigError(
            f"on_fault is {on_fault!r}.", why="It says what becomes of a fault.", fix='on_fault="return" or "raise"'
        )
    if isinstance(model_or_trainer, str):
        analysis = _check_name(model_or_trainer, gradient_accumulation_steps)
    elif hasattr(model_or_trainer, "training_step"):
        analysis = _check_trainer(model_or_trainer)
    else:
        analysis = _check_model(model_or_trainer, tokenizer, gradient_accumulation_steps)
    if on_fault == "raise":
        raise_fault(analysis)
    return analysis


def _check_trainer(trainer: Any) -> Analysis:
    from gacheck.measure.live_check import watch_first_steps

    facts = watch_first_steps(trainer)
    if facts is None:
        raise NothingSeenError(
            "The Trainer came to no end of an optimizer step.",
            why="Its training ended before, or its train() is not that of transformers.Trainer.",
            fix="check that it has rows to train on",
        )
    return analyse(record_of(facts, (CHECK_TRAINER,)))


def _check_name(name: str, gradient_accumulation_steps: int) -> Analysis:
    from gacheck.measure.experiment import measure_auto
    from gacheck.measure.live_check import no_traces
    from gacheck.measure.session import Session

    config = _two_steps(gradient_accumulation_steps, model=name)
    with no_traces():
        return analyse(measure_auto(config, Session(config), smoke_command(config)))


def _two_steps(gradient_accumulation_steps: int, **options: Any) -> ExperimentConfig:
    """Plan two steps of four rows a micro-batch; at k = 4 that is what `gacheck smoke` does."""
    k = gradient_accumulation_steps
    # What is no such number is refused as it was given.
    rows = {} if k == ACCUMULATION_STEPS or not isinstance(k, int) or k < 1 else {"effective_batch_size": 4 * k}
    return make_experiment(**{"gradient_accumulation_steps": (k,), "max_steps": 2, **rows, **options})


def _check_model(model: Any, tokenizer: Any, gradient_accumulation_steps: int) -> Analysis:
    from gacheck.measure.experiment import measure_auto
    from gacheck.measure.live_check import model_kept
    from gacheck.measure.models.live import LiveModel
    from gacheck.measure.session import Session
    from gacheck.watch.description import model_name

    if not hasattr(getattr(model, "config", None), "get_text_config"):
        raise ModelError(
            f"{type(model).__name__} has no config of transformers.",
            why="How long its rows may be and which tokens it knows is read from that.",
            fix="train it with a Trainer on data of its own, and hand that over:  gacheck.check(trainer)",
        )
    first = next(model.parameters())
    config = _two_steps(
        gradient_accumulation_steps,
        model=model_name(model),
        device=str(first.device),
        dtype=str(first.dtype).removeprefix("torch."),
    )
    with model_kept(model):
        return analyse(measure_auto(config, Session(config, LiveModel(model, tokenizer)), (CHECK_MODEL,)))
