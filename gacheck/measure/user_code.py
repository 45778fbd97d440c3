"""The user's own code: found by name, and whatever it raises said in words, with its place and its option."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from gacheck.config import USER_OBJECTS, ExperimentConfig
from gacheck.errors import EndedError, GacheckError, ModelError, ResourceError, UserCodeError, one_line
from gacheck.frames import FIX_IT, name_objects, raised_in_user_code, what_it_did
from gacheck.measure.neighbours import working_folder_first
from gacheck.misuse import flag_of
from gacheck.packages import missing_package, not_installed
from gacheck.words.reasons import is_of_memory

TAKE_OUT = 'take the call out, or put it below  if __name__ == "__main__":  (--traceback shows who calls)'
"""What to do about code that ends the program."""
LESS_MEMORY = "lower --effective-batch-size or --max-length, or choose another --dtype or --device"


def name_user_code(config: ExperimentConfig) -> None:
    """Say which options bring in which code, for errors to name them."""
    name_objects({path: flag_of(name) for name in USER_OBJECTS if (path := getattr(config, name)) is not None})


@contextmanager
def failures_as(
    explain: Callable[[BaseException], GacheckError], *, option: str | None = None, needed_by: str = "the model"
) -> Iterator[None]:
    """Turn whatever is raised into an error for people, also what is to end the program; let interruptions through.

    Code of the user's own, a missing package and a lack of memory are told the same way everywhere.

    Args:
        explain: Makes the error of everything else; those that are for people already pass as they are.
        option: Brings in the code that runs within the block.
        needed_by: What a missing package is needed by.
    """
    try:
        yield
    except (GacheckError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise _known(error, option, needed_by) or explain(error) from error


def _known(error: BaseException, option: str | None, needed_by: str) -> GacheckError | None:
    """Explain what has the same cause wherever it is raised."""
    package = missing_package(error)
    if package is not None:
        return not_installed(package, error, option or needed_by)
    if is_of_memory(f"{type(error).__name__}: {error}"):
        return ResourceError("The memory did not suffice.", why=one_line(error) or "MemoryError", fix=LESS_MEMORY)
    return in_user_code(error, option)


def in_user_code(error: BaseException, option: str | None = None) -> UserCodeError | None:
    """Explain what code of the user's own raised; None where no frame of it is in the traceback."""
    said = raised_in_user_code(error, option)
    if said is None:
        return None
    if isinstance(error, SystemExit):
        return EndedError(f"{said}.", why="That ends the program, and there is no verdict.", fix=TAKE_OUT)
    return UserCodeError(f"{said}.", why="It is code of your own, and nothing is measured without it.", fix=FIX_IT)


def what_happened(error: BaseException) -> str:
    """Say on one line what was raised, and where, if that was in code of the user's own."""
    return raised_in_user_code(error) or f"It {what_it_did(error)}."


def import_object(path: str, option: str) -> Any:
    """Import `pkg.mod:name`, also from the working folder.

    Raises:
        ModelError: There is no such module or object.
        UserCodeError: The module raises something when it is imported, or ends the program.
        PackageError: It imports what is not installed.
    """
    module_name, _, name = path.partition(":")
    try:
        with working_folder_first(), failures_as(lambda error: _not_imported(path, option, error), option=option):
            module = _import(module_name, path, option)
    except BaseException:
        # Half a module would be found by the next import.
        sys.modules.pop(module_name, None)
        raise
    if not hasattr(module, name):
        close = difflib.get_close_matches(name, dir(module), n=1)
        raise ModelError(
            f"{option} {path} cannot be imported: {module_name} has no {name}.",
            why=f"It was looked for in {getattr(module, '__file__', None) or module_name}.",
            fix=f"did you mean  {option} {module_name}:{close[0]}?" if close else "check the name after the colon",
        )
    return getattr(module, name)


def _import(module_name: str, path: str, option: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # what the module itself imports
        files = [each.stem for each in Path.cwd().glob("*.py")]
        close = difflib.get_close_matches(module_name, files, n=1)
        name = path.partition(":")[2]
        raise ModelError(
            f"{option} {path} cannot be imported: No module named {error.name!r}.",
            why="Classes and functions of your own are named as package.module:name.",
            fix=f"did you mean  {option} {close[0]}:{name}?"
            if close
            else f"start gacheck in the folder with {error.name} in it, name that folder in PYTHONPATH, or install it",
        ) from error


def _not_imported(path: str, option: str, error: BaseException) -> ModelError:
    return ModelError(
        f"{option} {path} cannot be imported: it {what_it_did(error)}.",
        why="Nothing is measured without it.",
        fix="python -c 'import "
        + path.partition(":")[0]
        + "'  shows the same by itself; --traceback shows the traceback whole",
    )


def import_trainer(path: str) -> Any:
    """Import a subclass of the Trainer.

    Raises:
        ModelError: There is no such module or class, or it is another kind of class.
    """
    return _import_subclass(
        path,
        flag_of("trainer_class"),
        transformers.Trainer,
        why="The passes are trainings under it.",
        fix="name a class that derives from transformers.Trainer",
    )


def import_model_class(path: str) -> Any:
    """Import a model's class.

    Raises:
        ModelError: There is no such module or class, or it is no model of transformers' kind.
    """
    return _import_subclass(
        path,
        flag_of("model_class"),
        transformers.PreTrainedModel,
        why="A model is built from a config, and trained as those of transformers are.",
        fix="name a class that derives from PreTrainedModel; for another model:  gacheck attach -- python train.py",
    )


def _import_subclass(path: str, option: str, base: type, *, why: str, fix: str) -> Any:
    found = import_object(path, option)
    if isinstance(found, type) and issubclass(found, base):
        return found
    raise ModelError(
        f"{option} {path} is no subclass of transformers.{base.__name__}.",
        why=why,
        fix=_of_kind(path, option, base) or fix,
    )


def import_loss(path: str) -> Any:
    """Import a loss function.

    Raises:
        ModelError: There is no such module or function, or it cannot be called as the Trainer calls it.
    """
    option = flag_of("compute_loss_func")
    found = import_object(path, option)
    signature = "def loss(outputs, labels, num_items_in_batch=None)"
    if not callable(found):
        raise ModelError(
            f"{option} {path} cannot be called: it is {one_line(repr(found), 60)}.",
            why="The Trainer calls it for the loss of every micro-batch.",
            fix=f"name a function:  {signature}",
        )
    try:
        inspect.signature(found).bind(object(), object(), num_items_in_batch=None)
    except TypeError as error:
        raise ModelError(
            f"{option} {path} takes other arguments than it is given: {one_line(error)}.",
            why="The Trainer calls it with outputs and labels, and num_items_in_batch by name.",
            fix=f"write it as  {signature}",
        ) from error
    except ValueError:
        pass  # a builtin without a signature
    return found


def _of_kind(path: str, option: str, base: type) -> str | None:
    """Return advice that names a class of the kind in the same module."""
    module_name = path.partition(":")[0]
    own = [
        name
        for name, each in vars(sys.modules[module_name]).items()
        if isinstance(each, type) and issubclass(each, base) and each.__module__ == module_name
    ]
    return f"did you mean  {option} {module_name}:{own[0]}?" if own else None
