"""Classes as transformers lays them out, the Trainer's flag, and what both mean together."""

from __future__ import annotations

from pathlib import Path

import pytest

from gacheck.errors import ConfigError
from gacheck.lint.finding import Finding
from gacheck.lint.lint import lint
from tests.lint.releases import TRAINER, TRAINER_OF_4_46, TRAINER_OF_4_50, make_release


def read(folder: Path, *names: str, trainer: str = TRAINER) -> dict[str, Finding]:
    return {each.class_name: each for each in lint(names, make_release(folder, trainer)).findings}


EVERY = {
    "TimForCausalLM": ("reaches", True, "fine"),
    "TomForCausalLM": ("reaches", True, "fine"),
    # By its name it has the loss of its task, which drops the count.
    "TomForTokenClassification": ("dropped", True, "affected"),
    "TomForSequenceClassification": ("reaches", True, "fine"),
    "TomForMaskedLM": ("dropped", True, "affected"),
    # The Trainer counts neither of them, and so hands nothing over.
    "TomForQuestionAnswering": ("unknown", True, "mean_of_means"),
    "TomForObjectDetection": ("unknown", True, "mean_of_means"),
    "TomForDepthEstimation": ("unknown", True, "unknown"),
    "TomDeclaring": ("dropped", False, "mean_of_means"),
    "TomOff": ("dropped", False, "mean_of_means"),
    "TomOld": ("reaches", True, "fine"),
}


def test_every_class_that_takes_labels_is_read_and_no_other(tmp_path: Path) -> None:
    found = read(tmp_path)

    assert {name: (each.answer, each.flag, each.effect) for name, each in found.items()} == EVERY


def test_a_loss_for_other_labels_is_told_apart(tmp_path: Path) -> None:
    found = read(tmp_path)["TomForSequenceClassification"]

    line = found.apart[0]
    assert "MSELoss" in Path(line.file).read_text(encoding="utf-8").splitlines()[line.line - 1]


def test_an_earlier_trainer_does_not_divide_where_it_counted_nothing(tmp_path: Path) -> None:
    found = read(tmp_path, trainer=TRAINER_OF_4_50)

    assert (found["TomForQuestionAnswering"].answer, found["TomForQuestionAnswering"].effect) == ("dropped", "affected")
    assert found["TomOff"].effect == "mean_of_means"


def test_the_first_trainer_asks_for_a_name(tmp_path: Path) -> None:
    found = read(tmp_path, trainer=TRAINER_OF_4_46)

    assert {name for name, each in found.items() if each.flag} == {"TomOld"}
    # What the class declares is not asked for, so that it says nothing.
    assert found["TomDeclaring"].flag is False


def test_of_a_trainer_that_is_not_understood_nothing_is_said(tmp_path: Path) -> None:
    found = read(tmp_path, trainer="class Trainer:\n    pass\n")

    assert {each.flag for each in found.values()} == {None}
    assert {each.effect for each in found.values()} == {"unknown"}


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["TomOff"], ["TomOff"]),
        (["tim"], ["TimForCausalLM"]),
        (["tiny:tim"], ["TimForCausalLM"]),
        # A type of which the auto classes know, without a folder of its own.
        (["tim_text"], ["TimForCausalLM"]),
        (["T?mForCausal*"], ["TimForCausalLM", "TomForCausalLM"]),
        (["TomOff", "T*Off", "tim"], ["TimForCausalLM", "TomOff"]),
    ],
)
def test_names_are_classes_types_and_patterns(tmp_path: Path, names: list[str], classes: list[str]) -> None:
    assert list(read(tmp_path, *names)) == classes


@pytest.mark.parametrize(("name", "advice"), [("TomForCausal", "TomForCausalLM"), ("tam", "tim"), ("Q*", "pattern")])
def test_a_name_of_nothing_is_refused(tmp_path: Path, name: str, advice: str) -> None:
    with pytest.raises(ConfigError, match="No class that takes labels") as error:
        read(tmp_path, name)

    assert advice in error.value.fix


def test_files_are_read_beside_transformers(tmp_path: Path) -> None:
    own = tmp_path / "mine" / "modeling_mine.py"
    own.parent.mkdir()
    own.write_text(
        "from transformers import TomForCausalLM\n"
        "from transformers.models.tom import modeling_tom\n"
        "class Mine(TomForCausalLM):\n"
        "    def forward(self, input_ids, labels=None, **kwargs):\n"
        "        return super().forward(input_ids, labels=labels)\n"
        "class AlsoMine(modeling_tom.TomForCausalLM): pass\n",
        encoding="utf-8",
    )

    found = read(tmp_path, str(own))

    assert {name: each.answer for name, each in found.items()} == {"Mine": "dropped", "AlsoMine": "reaches"}
    assert list(read(tmp_path, f"{own}:Mine")) == ["Mine"]
    assert found["Mine"].model_type is None


def test_files_of_one_name_are_not_taken_for_each_other(tmp_path: Path) -> None:
    for folder, base in (("a", "TomForCausalLM"), ("b", "TomForMaskedLM")):
        (tmp_path / folder).mkdir()
        text = f"from transformers import {base}\nclass In{folder}({base}): pass\n"
        (tmp_path / folder / "model.py").write_text(text, encoding="utf-8")

    found = read(tmp_path, str(tmp_path / "a" / "model.py"), str(tmp_path / "b" / "model.py"))

    assert {name: each.answer for name, each in found.items()} == {"Ina": "reaches", "Inb": "dropped"}


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (None, "", "cannot be read"),
        ("class (", "", "is not understood"),
        ("class A: pass", "", "takes labels"),
        ("class A: pass", ":B", "has no class B"),
    ],
)
def test_files_of_which_nothing_comes_are_refused(tmp_path: Path, text: str | None, name: str, said: str) -> None:
    path = tmp_path / "own.py"
    if text is not None:
        path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=said):
        read(tmp_path, f"{path}{name}")
