"""`gacheck models`: the list is that of the classes which a stand-in is made of."""

from __future__ import annotations

import pytest
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from gacheck.cli import main
from gacheck.measure.models.building import language_model


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["models", *arguments])
    assert not caught.value.code
    return dict(line.split() for line in capsys.readouterr().out.splitlines())


def test_all_causal_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys)

    assert {f"tiny:{name}" for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES} <= set(found)
    assert list(found) == sorted(found)


@pytest.mark.parametrize("name", ["llama", "gemma3", "glm4v"])
def test_the_class_is_the_one_that_is_built(capsys: pytest.CaptureFixture[str], name: str) -> None:
    built, _ = language_model(AutoConfig.for_model(name))

    assert listed(capsys, name)[f"tiny:{name}"] == built.__name__


@pytest.mark.parametrize("typed", ["gemma", "tiny:gemma", "GEMMA"])
def test_a_part_of_a_name_chooses(capsys: pytest.CaptureFixture[str], typed: str) -> None:
    found = listed(capsys, typed)

    assert "tiny:gemma3" in found
    assert all("gemma" in f"{name} {class_name}".lower() for name, class_name in found.items())


def test_nothing_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["models", "lamma"])

    assert caught.value.code == 2
    assert "did you mean" in capsys.readouterr().err
