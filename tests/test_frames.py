"""Whose code raised an error: frames of the user's own, of a library's, and of ours; by hand."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gacheck.frames import is_an_options, name_objects, place_of, raised_in_user_code

Module = Callable[[str, str], ModuleType]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Write a module into the working folder, or below it, and import it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name: str, source: str) -> ModuleType:
        path = Path(f"{name.replace('.', '/')}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    name_objects({})
    for name in set(sys.modules) - before:
        sys.modules.pop(name)


def raised_by(action: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - of any kind
        action()
    # What pytest and this file add stands above.
    error = caught.value
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return error.with_traceback(trace)


KINDS = """
import json

def fails():
    raise ValueError("odd.")

class Mine:
    def method(self):
        return [1 / 0 for _ in range(1)]

    @staticmethod
    def reads():
        return json.loads("{")

def makes():
    def inner():
        raise KeyError("x")
    return inner

inner = makes()
silent = lambda: (_ for _ in ()).throw(RuntimeError)

def ends():
    raise SystemExit(3)

def instead():
    try:
        fails()
    except ValueError:
        raise TypeError("another")
"""


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.fails(), "fails raised ValueError: odd (kinds.py:5)"),
        (lambda m: m.Mine().method(), "Mine.method raised ZeroDivisionError: division by zero (kinds.py:9)"),
        # The innermost frame is the library's, the innermost of the user's own is told.
        (lambda m: m.Mine.reads(), "Mine.reads raised JSONDecodeError: Expecting property name"),
        (lambda m: m.inner(), "inner raised KeyError: 'x' (kinds.py:17)"),
        (lambda m: m.silent(), "a lambda raised RuntimeError (kinds.py:21)"),
        (lambda m: m.ends(), "ends called sys.exit(3) (kinds.py:24)"),
        (lambda m: m.instead(), "instead raised TypeError: another (kinds.py:30)"),
    ],
)
def test_what_is_said(module: Module, call: Callable[[ModuleType], object], said: str) -> None:
    kinds = module("kinds", KINDS)

    assert (raised_in_user_code(raised_by(lambda: call(kinds))) or "").startswith(said)


def test_a_library_alone_is_nobodys() -> None:
    assert raised_in_user_code(raised_by(lambda: json.loads("{"))) is None


def test_the_cause_is_searched_where_the_error_itself_has_no_frame(module: Module) -> None:
    kinds = module("kinds", KINDS)
    try:
        raised = ImportError("a library's own words")
        raised.__cause__ = raised_by(kinds.fails)
    finally:
        assert (raised_in_user_code(raised) or "").startswith("fails raised ValueError: odd (kinds.py:5)")


def test_the_option_is_that_whose_object_ran(module: Module) -> None:
    kinds = module("kinds", KINDS)
    name_objects({"kinds:Mine": "--trainer-class", "kinds:fails": "--compute-loss-func"})

    for call, option in ((kinds.fails, "--compute-loss-func"), (kinds.Mine().method, "--trainer-class")):
        error = raised_by(call)
        assert (raised_in_user_code(error) or "").endswith(f"), from {option}")
        assert is_an_options(error)
    # Of neither by name: the module's first.
    assert (raised_in_user_code(raised_by(kinds.inner)) or "").endswith("), from --trainer-class")


def test_a_package_is_one_with_all_its_modules(module: Module) -> None:
    helper = module("pack.deep.helper", "def fails():\n    raise ValueError('x')\n")
    name_objects({"pack.trainers:Mine": "--trainer-class"})

    said = raised_in_user_code(raised_by(helper.fails))
    assert said == "fails raised ValueError: x (pack/deep/helper.py:2), from --trainer-class"


def test_code_that_no_option_named_is_of_the_option_that_called_it(module: Module) -> None:
    module("beside", "def fails():\n    raise ValueError('x')\n")
    named = module("named", "import beside\n\nclass Mine:\n    def call(self):\n        beside.fails()\n")
    name_objects({"named:Mine": "--trainer-class"})

    said = raised_in_user_code(raised_by(named.Mine().call))
    assert said == "fails raised ValueError: x (beside.py:2), from --trainer-class"


def test_an_installed_package_is_the_users_own_once_an_option_names_it(module: Module) -> None:
    library = module("site-packages.lib.trainers".replace("site-packages.", ""), "def fails():\n    raise ValueError\n")
    code = library.fails.__code__
    library.fails.__code__ = code.replace(co_filename="/opt/env/lib/site-packages/lib/trainers.py")

    assert raised_in_user_code(raised_by(library.fails)) is None
    name_objects({"lib.trainers:Mine": "--trainer-class"})
    said = raised_in_user_code(raised_by(library.fails))
    assert said == "fails raised ValueError (lib/trainers.py:2), from --trainer-class"


@pytest.mark.parametrize("library", ["json:JSONDecoder", "transformers:LlamaForCausalLM"])
def test_a_library_is_a_librarys_though_an_option_names_it(module: Module, library: str) -> None:
    name_objects({library: "--model-class"})

    assert raised_in_user_code(raised_by(lambda: json.loads("{"))) is None


def test_code_beside_a_models_weights(module: Module) -> None:
    remote = module("transformers_modules.mine.abc.modeling_mine", "def forward():\n    raise ValueError('x')\n")
    code = remote.forward.__code__
    remote.forward.__code__ = code.replace(co_filename="/root/.cache/transformers_modules/mine/abc/modeling_mine.py")

    said = raised_in_user_code(raised_by(remote.forward))
    assert said == "forward raised ValueError: x (modeling_mine.py:2), from --trust-remote-code"


def test_a_module_that_cannot_be_parsed(module: Module) -> None:
    error = raised_by(lambda: module("slip", "x = 1\ndef f(:\n"))

    said = raised_in_user_code(error, "--trainer-class") or ""
    assert said.startswith("importing slip raised SyntaxError: ")
    assert said.endswith(" (slip.py:2), from --trainer-class")


def test_a_place_elsewhere_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Module) -> None:
    kinds = module("kinds", KINDS)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert f" ({tmp_path}/kinds.py:5)" in (raised_in_user_code(raised_by(kinds.fails)) or "")


def test_the_place_of_an_exit_is_who_asked_for_it(module: Module) -> None:
    script = module("script", "import argparse\n\ndef main():\n    argparse.ArgumentParser().exit(0)\n")

    assert place_of(raised_by(script.main)) == " (script.py:4)"
    assert place_of(ValueError("never raised")) == ""
