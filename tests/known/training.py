"""What a Trainer is made of, the same every time, and what its steps are beside plain torch's."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from transformers import Trainer, TrainingArguments

from tests.known import bodies
from tests.known.quiet import QUIET
from tests.known.rows import ROWS_OF_A_MICRO_BATCH, UNEQUAL, K
from tests.trials.batches import Pads, Row
from tests.trials.right_steps import RightPart
from tests.trials.truth import BOUNDS, Bounds, Truth, find_truth

# `loss = loss / k   # where`, `Try  X.y = False:  what then`, `Hand it on:  call(…)`.
_COMMENTED = re.compile(r"^(?:Or:? +|Try  )?(?P<code>\S.*?)   # (?P<where>.+)$")
_TRIED = re.compile(r"^(?:Or try|Try)  (?P<code>.+?):  ")
_AFTER_COLON = re.compile(r":  (?P<code>\S.*)$")


@dataclass(frozen=True)
class Training:
    """One of k = 4 micro-batches of 2 rows, for two optimizer steps.

    Attributes:
        trainer: Its class.
        model: Makes the model.
        rows: In the order in which they are trained on.
        collator: Makes micro-batches of them.
        arguments: For TrainingArguments, besides what all have.
        loss_func: The Trainer's `compute_loss_func`.
        typed: Lines of a script, in the order in which they are typed, each with where that is.
    """

    trainer: type[Trainer] = Trainer
    model: Callable[[], Any] = bodies.llama
    rows: Sequence[Row] = UNEQUAL
    collator: Any = field(default_factory=Pads)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    loss_func: Callable[..., Any] | None = None
    typed: tuple[Line, ...] = ()

    @property
    def num_steps(self) -> int:
        """How many optimizer steps it takes."""
        steps: int = {**_ARGUMENTS, **self.arguments}["max_steps"]
        return steps

    def make(self) -> Any:
        """Make the Trainer, untrained."""
        model = self.model()
        model_class, trainer_class = type(model), self.trainer
        if self.typed:
            # Classes of their own, so that what is typed on one stays with this Trainer.
            model_class, trainer_class = _alike(model_class), _alike(trainer_class)
            model.__class__ = model_class
        names = {"model": model, model_class.__name__: model_class, trainer_class.__name__: trainer_class}
        for line in self.typed:
            if not line.after_trainer:
                exec(line.code, dict(names))
        trainer = trainer_class(
            model=model,
            args=TrainingArguments(**{**_ARGUMENTS, "output_dir": _folder(), **self.arguments}),
            train_dataset=list(self.rows),
            data_collator=self.collator,
            compute_loss_func=self.loss_func,
        )
        for line in self.typed:
            if line.after_trainer:
                exec(line.code, {**names, "trainer": trainer})
        return trainer

    def truth(
        self,
        part: RightPart,
        bounds: Bounds = BOUNDS["float32"],
        *,
        calls_matter: bool = False,
        reference: Callable[[], Any] | None = None,
    ) -> Truth:
        """Train bare, beside plain torch.

        Args:
            part: The step that it is held against.
            bounds: What rounding may make.
            calls_matter: The model counts its forwards.
            reference: Makes the right model; by default it is the training's own.
        """
        return self.truth_of(self.make(), part, bounds, calls_matter=calls_matter, reference=reference)

    def truth_of(
        self,
        trainer: Any,
        part: RightPart,
        bounds: Bounds = BOUNDS["float32"],
        *,
        calls_matter: bool = False,
        reference: Callable[[], Any] | None = None,
    ) -> Truth:
        """Do the same with a Trainer that was made of this."""
        model = (reference or self.model)()
        return find_truth(trainer, model, part, bounds, autocast=False, calls_matter=calls_matter)

    def with_typed(self, *lines: Line) -> Training:
        """Type more into the script."""
        return replace(self, typed=(*self.typed, *lines))


_ARGUMENTS: Mapping[str, Any] = {
    **QUIET,
    "per_device_train_batch_size": ROWS_OF_A_MICRO_BATCH,
    "gradient_accumulation_steps": K,
    "max_steps": 2,
    "train_sampling_strategy": "sequential",
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "logging_strategy": "no",
    "dataloader_pin_memory": False,
}


@cache
def _folder() -> str:
    """Return the folder of this process; nothing is saved there."""
    return tempfile.mkdtemp(prefix="known-")


def _alike(each: type) -> Any:
    return type(each.__name__, (each,), {"__module__": each.__module__})


@dataclass(frozen=True)
class Line:
    """A line of code that a verdict advises.

    Attributes:
        code: As it stands there.
        where: Between which lines of the script, or in which function.
    """

    code: str
    where: str = ""

    @property
    def after_trainer(self) -> bool:
        """Whether it is typed once the Trainer is made."""
        return self.where == "before trainer.train()"

    def stands_in(self, written: type) -> bool:
        """Whether a class has it in its code."""
        source = "\n".join(inspect.getsource(each) for each in written.__mro__ if each.__module__.startswith("tests"))
        return self.code in source


def lines_of(fix: str) -> tuple[Line, ...]:
    """Return the lines of code in what a verdict advises, in the order in which they stand."""
    found = []
    for text in fix.splitlines():
        if commented := _COMMENTED.search(text):
            found.append(Line(commented["code"], commented["where"]))
        elif tried := _TRIED.search(text):
            # An attribute of a class can be set at any time before it is asked.
            found.append(Line(tried["code"]))
        elif after := _AFTER_COLON.search(text):
            found.append(Line(after["code"], text[: after.start()]))
    return tuple(found)
