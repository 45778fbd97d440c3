"""The edits to classes of transformers, the patches that they give, and the issues that go with them."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent, indent

import pytest

from tests.makers import DOCS, load_maker

EDITS = load_maker("upstream_edits")
PLAN = load_maker("upstream_plan")

FOLDER = DOCS / "upstream"
PATCHES = sorted([*(FOLDER / "patches").glob("*.patch"), *(FOLDER / "by_hand").glob("*.patch")])
ISSUES = sorted(each for each in FOLDER.glob("*.md") if each.name != "README.md")
RELEASE = "5.24.0"
LOSS_TYPES = ("ForCausalLM", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")

MODULE = """\
from torch import nn
from torch.nn import CrossEntropyLoss

from ...generation import GenerationMixin
from ...modeling_outputs import Output


class {name}(Base):
{attributes}
    def __init__(self, config):
        super().__init__(config)
        self.head = nn.Linear(1, 1)

    def forward(self, x, labels=None, {arguments}**kwargs):
        logits = self.head(x)
        loss = None
        if labels is not None:
{loss}
        return loss
"""
OWN = """\
loss_fct = CrossEntropyLoss()
loss = loss_fct(logits.view(-1, 9), labels.view(-1))
"""


def module(name: str, loss: str, *, arguments: str = "", attributes: str = "") -> str:
    return MODULE.format(
        name=name, loss=indent(dedent(loss), " " * 12), arguments=arguments, attributes=indent(attributes, "    ")
    )


def changed(text: str) -> str:
    edits = EDITS.edits_of(text, LOSS_TYPES)
    return EDITS.edited(text, edits, depth=2) if edits else text


def test_a_loss_of_its_own_becomes_that_of_the_library() -> None:
    text = changed(module("BertForMaskedLM", OWN))
    assert "loss = fixed_cross_entropy(logits.view(-1, 9), labels.view(-1), **kwargs)\n" in text
    assert "from ...generation import GenerationMixin\nfrom ...loss.loss_utils import fixed_cross_entropy\n" in text
    assert "CrossEntropyLoss" not in text
    assert "loss_type" not in text


def test_a_causal_head_that_does_not_shift_says_so() -> None:
    assert 'self.loss_type = "ForMaskedLM"' in changed(module("BartForCausalLM", OWN))


def test_a_name_that_says_nothing_is_helped_out_where_the_loss_shifts() -> None:
    library = "loss = self.loss_function(logits, labels, 9, **kwargs)\n"
    assert 'self.loss_type = "ForCausalLM"' in changed(module("GPT2LMHeadModel", library))
    own = "labels = labels[..., 1:]\n" + OWN
    assert 'self.loss_type = "ForCausalLM"' in changed(module("OldLMHeadModel", own))
    assert "loss_type" not in changed(module("XLNetLMHeadModel", OWN))


def test_the_count_is_passed_on_to_the_loss_of_the_library() -> None:
    text = changed(module("LlamaForTokenClassification", "loss = self.loss_function(logits, labels, self.config)\n"))
    assert "self.loss_function(logits, labels, self.config, **kwargs)" in text


def test_three_losses_by_problem_type_become_the_one_that_has_all_three() -> None:
    loss = """\
        if self.config.problem_type is None:
            self.config.problem_type = "regression"
        if self.config.problem_type == "regression":
            loss_fct = MSELoss()
            loss = loss_fct(pooled.squeeze(), labels.squeeze())
        else:
            loss_fct = CrossEntropyLoss()
            loss = loss_fct(pooled.view(-1, 9), labels.view(-1))
    """
    text = changed(module("BertForSequenceClassification", loss))
    assert "loss = self.loss_function(labels=labels, pooled_logits=pooled, config=self.config, **kwargs)\n" in text
    assert "problem_type" not in text


def test_a_declaration_that_is_not_true_goes_with_its_comment() -> None:
    attributes = "# Reference: an older fault\naccepts_loss_kwargs = False\nother = 1\n"
    loss = "loss = self.loss_function(logits, labels, 9, **kwargs)\n"
    text = changed(module("GlmForCausalLM", loss, attributes=attributes))
    right = module("GlmForCausalLM", loss, attributes="other = 1\n")
    assert text == right.replace("from torch.nn import CrossEntropyLoss\n", "")


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(OWN.replace("()", "(ignore_index=255)"), id="another label is ignored"),
        pytest.param(OWN.replace("()", "(label_smoothing=0.1)"), id="an option that the library's lacks"),
        pytest.param(OWN.replace("labels", "answers"), id="targets that are not counted"),
        pytest.param(OWN + "loss = loss + loss_fct(logits.view(-1, 2), answers.view(-1))\n", id="two counts"),
    ],
)
def test_what_one_count_cannot_normalise_is_left_alone(loss: str) -> None:
    text = module("BertForPreTraining", loss, arguments="answers=None, ")
    assert changed(text) == text


def test_a_forward_without_kwargs_is_left_alone() -> None:
    text = module("BertForMaskedLM", OWN).replace(", **kwargs", "")
    assert changed(text) == text


# What is in the repository


@pytest.mark.skipif(version("transformers") != RELEASE, reason=f"the patches are for transformers {RELEASE}")
@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: f"{patch.parent.name}/{patch.stem}")
def test_a_patch_applies_to_the_release(patch: Path, tmp_path: Path) -> None:
    library = PLAN.library()
    paths = re.findall(r"^\+\+\+ b/src/transformers/(.*)$", patch.read_text(encoding="utf-8"), re.MULTILINE)
    assert paths
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library / path, tmp_path / path)
    PLAN.apply(patch, tmp_path)
    for path in paths:
        text = (tmp_path / path).read_text(encoding="utf-8")
        assert text != (library / path).read_text(encoding="utf-8")
        ast.parse(text)


def test_a_patch_for_something_else_does_not_apply(tmp_path: Path) -> None:
    (tmp_path / "trainer.py").write_text("nothing\n", encoding="utf-8")
    with pytest.raises(subprocess.CalledProcessError):
        PLAN.apply(FOLDER / "by_hand" / "trainer.patch", tmp_path)


@pytest.mark.parametrize("issue", ISSUES, ids=lambda issue: issue.stem)
def test_a_reproduction_is_short_and_needs_nothing_but_the_library(issue: Path) -> None:
    scripts = re.findall(r"^```python\n(import .*?)^```$", issue.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(scripts) == 1
    assert len(scripts[0].splitlines()) <= 40
    tree = ast.parse(scripts[0])
    imported = {each.module for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
    imported |= {name.name for each in ast.walk(tree) if isinstance(each, ast.Import) for name in each.names}
    packages = {str(name).partition(".")[0] for name in imported}
    assert packages <= {"torch", "transformers", *sys.stdlib_module_names}


def test_the_table_names_the_patches_that_there_are() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"^\| `.*\(patches/([\w.]+)\.patch\) \|$", text, re.MULTILINE))
    assert linked == {patch.stem for patch in (FOLDER / "patches").glob("*.patch")}


def test_the_patches_are_small_enough_to_be_read() -> None:
    assert sum(patch.stat().st_size for patch in PATCHES) < 1_000_000
