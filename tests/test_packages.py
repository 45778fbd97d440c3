"""Which package an error says is missing: as the libraries put it, in the releases that gacheck knows."""

from __future__ import annotations

import pytest

from gacheck.packages import missing_package, not_installed

# Said by transformers 4.46 to 5.24, torch, and Python itself; of packages that no test environment has.
SAYINGS = [
    (
        ImportError(
            "You need to install `bitsandbytes_x` in order to use bitsandbytes optimizers: "
            "`pip install -U bitsandbytes_x`"
        ),
        "bitsandbytes_x",
    ),
    (ValueError("Trainer tried to instantiate bnb optimizer but `bnb_x` is not installed!"), "bnb_x"),
    (
        ImportError(
            "TimmX requires the timm_x library but it was not found in your environment. You can install it with pip: "
            "`pip install timm_x`. Please note that you may need to restart your runtime after installation."
        ),
        "timm_x",
    ),
    (
        ImportError(
            "You need to install `galore_x` in order to use GaLore optimizers install it with "
            "`pip install git+https://github.com/jiaweizzhao/GaLore_x`"
        ),
        "git+https://github.com/jiaweizzhao/GaLore_x",
    ),
    (
        ValueError(
            "Couldn't instantiate the backend tokenizer from one of: (1) a `tokenizers` library serialization file. "
            "You need to have sentencepiece_x or tiktoken_x installed to convert a slow tokenizer to a fast one."
        ),
        "sentencepiece_x",
    ),
    (ImportError("`tiktoken_x` is required to read a tiktoken file. Install it with `pip install tiktoken_x`."), None),
    (ImportError("schedulefree_x is not installed; pip install 'schedulefree_x>=1.0'"), "schedulefree_x"),
    (
        ImportError("Using `low_cpu_mem_usage=True` requires Accelerate_x: `pip install 'accelerate_x>=0.26.0'`"),
        "accelerate_x",
    ),
    (ImportError("This modeling file requires the following packages: run `pip install flash_attn_x`"), "flash_attn_x"),
    (ModuleNotFoundError("No module named 'mamba_x.ops'", name="mamba_x.ops"), "mamba_x"),
    (ModuleNotFoundError("No module named 'PIL_x'", name="PIL_x"), "PIL_x"),
    (RuntimeError("No module named 'causal_x'"), "causal_x"),
]


@pytest.mark.parametrize(("error", "package"), SAYINGS, ids=lambda each: str(each)[:40])
def test_what_libraries_say(error: Exception, package: str | None) -> None:
    assert missing_package(error) == (package or "tiktoken_x")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd"),
        ImportError("libcudart.so.12: cannot open shared object file"),
        ImportError("cannot import name 'Nope' from 'transformers' (unknown location)"),
        # Installed: it is not what is missing.
        ImportError("This requires the torch library; pip install torch"),
        ModuleNotFoundError("No module named 'json.nope'", name="json.nope"),
        KeyError("install"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_nothing_is_missing(error: Exception) -> None:
    assert missing_package(error) is None


def test_the_module_may_have_another_name_than_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gacheck.packages.is_here", lambda name: False)

    for module, package in (("PIL", "pillow"), ("yaml", "pyyaml"), ("sklearn.metrics", "scikit-learn")):
        assert missing_package(ModuleNotFoundError("…", name=module)) == package


def test_it_is_found_in_what_an_error_came_from() -> None:
    outer = RuntimeError("Failed to import transformers.trainer because of the following error")
    outer.__cause__ = ModuleNotFoundError("No module named 'datasets_x'", name="datasets_x")

    assert missing_package(outer) == "datasets_x"


def test_the_fix_installs_it() -> None:
    error = not_installed("git+https://github.com/a/GaLore", ImportError("said"), "--optim galore")

    assert error.exit_code == 2
    assert error.what == "GaLore is not installed, and --optim galore needs it."
    assert error.fix == "pip install git+https://github.com/a/GaLore"


def test_what_a_second_way_would_need_is_not_why_the_first_failed() -> None:
    error = ImportError("requires the nosuchpackage library but it was not found in your environment")
    assert missing_package(error) == "nosuchpackage"

    error.__context__ = KeyError("looked up first")
    assert missing_package(error) == "nosuchpackage"

    error.__context__ = Exception("EOF while parsing a value at line 1 column 1")
    assert missing_package(error) is None
