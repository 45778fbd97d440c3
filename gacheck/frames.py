"""Whose code raised an error: the innermost frame of the user's own, and the option that brought that code in.

The user's own is what is neither gacheck's nor a library's: what lies neither in the standard library nor among the
installed packages. An installed package that an option names is the user's own all the same, and so is code that lies
beside a model's weights.
"""

from __future__ import annotations

import logging
import re
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

from gacheck.errors import causes, one_line

LOG = logging.getLogger("gacheck")
"""Where an error that becomes part of a record is noted, with its traceback; nobody sees it unless asked for."""

FIX_IT = "fix it there; --traceback shows the traceback whole"
"""What to do about code of the user's own that raised something."""

# Where transformers puts the code of a model's repository or folder.
REMOTE_CODE = "transformers_modules"
REMOTE_OPTION = "--trust-remote-code"

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_NOT_THE_USERS = tuple(
    f"{Path(folder).as_posix()}/"
    for folder in (Path(__file__).resolve().parent, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
)
# An option may name a class of these; their code is a library's for all that.
_LIBRARIES = frozenset({"gacheck", "torch", "transformers", "accelerate", "datasets", "peft", "tokenizers"})

_objects: dict[str, str] = {}


def name_objects(objects: Mapping[str, str]) -> None:
    """Say which object of the user's (`package.module:name`) which option brought in; what was said before goes."""
    _objects.clear()
    _objects.update(objects)


@dataclass(frozen=True)
class UserFrame:
    """A frame of the user's own.

    Attributes:
        function: With its class; empty for the top level of a module.
        module: By its full name.
        place: file:line, as short as it can be found by.
        option: That brought the code in; None where no option did.
    """

    function: str
    module: str
    place: str
    option: str | None


def user_frame(error: BaseException) -> UserFrame | None:
    """Return the innermost frame of the user's own in an error's traceback; None where there is none."""
    if isinstance(error, SyntaxError) and error.filename and is_own("", error.filename):
        return UserFrame("", Path(error.filename).stem, _short(error.filename, "", error.lineno or 1), None)
    own = [(f, line) for f, line in traceback.walk_tb(error.__traceback__) if is_own(_module(f), _file(f))]
    if not own:
        return None
    frame, line = own[-1]
    module = _module(frame)
    option = _option([each for each, _ in reversed(own)])
    return UserFrame(_function(frame.f_code), module, _short(_file(frame), module, line), option)


def raised_in_user_code(error: BaseException, option: str | None = None) -> str | None:
    """Say on one line which code of the user's own raised an error, where it stands, and which option brought it in.

    Args:
        error: As it was caught; what it came from is searched too.
        option: Known to have brought the code in, where the traceback may not tell.

    Returns:
        Such as `Mine.compute_loss raised ValueError: odd (mine.py:9), from --trainer-class`; None where no frame is
        the user's own.
    """
    found = next(((each, frame) for each in causes(error) if (frame := user_frame(each)) is not None), None)
    if found is None:
        return None
    each, frame = found
    subject = frame.function or f"importing {frame.module}"
    option = frame.option or option
    return f"{subject} {what_it_did(each)} ({frame.place}){f', from {option}' if option else ''}"


def what_it_did(error: BaseException) -> str:
    """Say on one line what was raised, or that the program was ended."""
    if isinstance(error, SystemExit):
        return f"called {exit_call(error)}"
    kind = type(error).__name__
    message = one_line(error.msg if isinstance(error, SyntaxError) else error)
    return f"raised {kind}" if message == kind else f"raised {kind}: {message.removesuffix('.')}"


def exit_call(error: SystemExit) -> str:
    """Return the call that raised it."""
    return one_line(f"sys.exit({'' if error.code is None else repr(error.code)})")


def place_of(error: BaseException) -> str:
    """Return ` (file:line)` of where an error was raised; nothing where that is not known.

    Of a SystemExit it is where somebody asked for it: neither argparse nor gacheck, where there is anyone else.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [(f, line) for f, line in frames if is_own(_module(f), _file(f))]
    chosen = (isinstance(error, SystemExit) and own) or frames
    if not chosen:
        return ""
    frame, line = chosen[-1]
    return f" ({_short(_file(frame), _module(frame), line)})"


def is_an_options(error: BaseException) -> bool:
    """Whether the innermost frame of the user's own was brought in by an option."""
    frame = user_frame(error)
    return frame is not None and frame.option is not None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__") or "")


def _file(frame: FrameType) -> str:
    return frame.f_code.co_filename


def is_own(module: str, file: str) -> bool:
    """Whether a module's code is the user's own.

    Args:
        module: Its name.
        file: In which it stands.
    """
    root = module.partition(".")[0]
    if root == REMOTE_CODE or root in _named_roots():
        return True
    if file.startswith("<"):
        return module == "__main__"  # typed at a prompt; what a library generates has a module of its own
    path = Path(file)
    return not path.as_posix().startswith(_NOT_THE_USERS) and not _INSTALLED & set(path.parts)


def _named_roots() -> frozenset[str]:
    roots = {path.partition(":")[0].partition(".")[0] for path in _objects}
    return frozenset(roots - _LIBRARIES - sys.stdlib_module_names)


def _option(frames: list[FrameType]) -> str | None:
    """Return the option that brought the code in: by the object that it names, else by its package; innermost first."""
    by_name = {(path.partition(":")[0], path.partition(":")[2]): option for path, option in _objects.items()}
    by_root = {module.partition(".")[0]: option for (module, _), option in reversed(by_name.items())}
    names = [(_module(f), f.f_code.co_qualname.partition(".")[0]) for f in frames]
    exact = (by_name.get(name) for name in names)
    of_package = (
        REMOTE_OPTION if module.startswith(f"{REMOTE_CODE}.") else by_root.get(module.partition(".")[0])
        for module, _ in names
    )
    return next((each for each in (*exact, *of_package) if each is not None), None)


def _function(code: CodeType) -> str:
    """Name a function as a person would: with its class, without what it is local to."""
    name = re.sub(r"\.<locals>\.<(?:list|set|dict)comp>|\.<locals>\.<genexpr>", "", code.co_qualname)
    name = name.rpartition("<locals>.")[2]
    return "" if name == "<module>" else name.replace("<lambda>", "a lambda")


def _short(file: str, module: str, line: int) -> str:
    """Return file:line, from the working folder or from the package's own on; else whole."""
    path = Path(file)
    if path.is_absolute():
        parts = module.split(".")
        if path.is_relative_to(Path.cwd()) and not _INSTALLED & set(path.parts):
            path = path.relative_to(Path.cwd())
        elif parts[0] == REMOTE_CODE:
            path = Path(path.name)
        elif len(parts) > 1:
            path = Path(*path.parts[-len(parts) - (path.name == "__init__.py") :])
    return f"{path}:{line}"
