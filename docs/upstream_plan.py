"""What docs/make_upstream.py would change in the library: which modules, for the sake of which classes."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from upstream_edits import Edit, depth_of, edited, edits_of

FOLDER = Path(__file__).parent / "upstream"
BY_HAND = FOLDER / "by_hand"
BESIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "BertForSequenceClassification, regression": (
        "ForSequenceClassificationLoss",
        {"config_override": {"problem_type": "regression", "num_labels": 1}},
    ),
    "BertForSequenceClassification, multi-label": (
        "ForSequenceClassificationLoss",
        {"config_override": {"problem_type": "multi_label_classification"}},
    ),
    "LlavaForConditionalGeneration, label smoothing": ("Trainer", {"label_smoothing_factor": 0.1}),
    "MixtralForCausalLM, router loss": ("MixtralForCausalLM", {"config_override": {"output_router_logits": True}}),
}
"""What is measured with other options than the usual, and the changed class that decides it."""


@dataclass(frozen=True)
class File:
    """A module of the library that is changed.

    Attributes:
        path: In the library.
        original: Its text as released.
        base: The same after the patches by hand.
        by_hand: The classes that those are for.
        edits: Of its classes.
    """

    path: Path
    original: str
    base: str
    by_hand: tuple[str, ...]
    edits: tuple[Edit, ...]

    @property
    def name(self) -> str:
        """What its patch is called."""
        return self.path.parts[1] if self.path.parts[0] == "models" else self.path.stem

    @property
    def class_names(self) -> set[str]:
        """The classes that are changed."""
        return {*self.by_hand, *(edit.class_name for edit in self.edits)}

    def text(self, class_names: set[str] | None = None) -> str:
        """Return its text with the changes of these classes, or of all."""
        edits = [edit for edit in self.edits if class_names is None or edit.class_name in class_names]
        return edited(self.base, edits, depth_of(self.path))

    def diff(self, class_names: set[str]) -> str:
        """Return the changes of these classes, with paths as in the library's repository."""
        path = f"src/transformers/{self.path.as_posix()}"
        lines = (each.splitlines(keepends=True) for each in (self.original, self.text(class_names)))
        return "".join(difflib.unified_diff(*lines, f"a/{path}", f"b/{path}"))


def library() -> Path:
    """Return the installed library; it is not imported."""
    spec = importlib.util.find_spec("transformers")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


class Plan:
    """What is changed, and which classes that is for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._hand = {path: names for patch in sorted(BY_HAND.glob("*.patch")) for path, names in hand_patched(patch)}

    @cached_property
    def loss_types(self) -> list[str]:
        """The names of the library's losses, which say what a class has."""
        text = (self.root / "loss" / "loss_utils.py").read_text(encoding="utf-8")
        return re.findall(r'^    "(\w+)": ', text.partition("LOSS_MAPPING = {")[2], re.MULTILINE)

    @cached_property
    def files(self) -> list[File]:
        """Every module that is changed."""
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder)
            for path in self._hand:
                (base / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.root / path, base / path)
            for patch in sorted(BY_HAND.glob("*.patch")):
                apply(patch, base)
            return list(self._files({path: (base / path).read_text(encoding="utf-8") for path in self._hand}))

    def _files(self, patched: Mapping[Path, str]) -> Iterator[File]:
        sources = [*self.root.glob("models/*/mod*ing_*.py"), *self.root.glob("models/*/modular_*.py")]
        found = {each.relative_to(self.root) for each in (*sources, self.root / "modeling_layers.py")}
        for path in sorted(found | patched.keys()):
            original = (self.root / path).read_text(encoding="utf-8")
            base, by_hand = patched.get(path, original), self._hand.get(path, ())
            edits = [edit for edit in edits_of(base, self.loss_types) if edit.class_name not in by_hand]
            if edits or by_hand:
                yield File(path, original, base, by_hand, tuple(edits))

    @cached_property
    def users(self) -> dict[str, str]:
        """Classes without a loss of their own, and the changed class that theirs is inherited from."""
        shared = {name for file in self.files if file.path.parts[0] != "models" for name in file.class_names}
        found = {}
        for path in sorted(self.root.glob("models/*/modeling_*.py")):
            for name, bases in re.findall(r"^class (\w+)\(([^)]*)\):", path.read_text(encoding="utf-8"), re.MULTILINE):
                found |= (
                    dict.fromkeys([name], base) if (base := next(iter({*bases.split(", ")} & shared), None)) else {}
                )
        return found

    @property
    def decided(self) -> dict[str, str]:
        """What is measured without being changed itself, and the changed class that decides it."""
        return {**self.users, **{name: changed for name, (changed, _) in BESIDES.items()}}

    def place(self, name: str) -> str:
        """Return the file and line where a class is changed last, which is where its loss is computed."""
        changed = self.decided.get(name, name)
        file = next(
            file for file in reversed(self.files) if changed in file.class_names and "modular" not in file.path.name
        )
        places = [
            file.base.encode()[: edit.start].count(b"\n") + 1 for edit in file.edits if edit.class_name == changed
        ]
        where = f"src/transformers/{file.path.as_posix()}"
        return f"{where}:{max(places)}" if places and not file.by_hand else where

    @cached_property
    def names(self) -> list[str]:
        """Every class that is to be measured, language models first, those that inherit last."""
        own = {name for file in self.files if file.path.parts[0] == "models" for name in file.class_names}
        usual = own - self.users.keys() - {changed for changed, _ in BESIDES.values()}
        return [*sorted(usual, key=_turn), *BESIDES, *sorted(self.users)]

    def write(self, folder: Path) -> None:
        """Write a copy of the library with every change."""
        shutil.copytree(self.root, folder / "transformers", ignore=shutil.ignore_patterns("__pycache__"))
        for file in self.files:
            (folder / "transformers" / file.path).write_text(file.text(), encoding="utf-8")


def _turn(name: str) -> tuple[bool, bool, str]:
    return "ForCausalLM" not in name and "LMHead" not in name, "ForConditionalGeneration" not in name, name


def hand_patched(patch: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield the modules that a patch is for, and the classes that its first line names."""
    text = patch.read_text(encoding="utf-8")
    names = tuple(text.partition("\n")[0].removeprefix("Classes: ").split(", "))
    for path in re.findall(r"^\+\+\+ b/src/transformers/(.*)$", text, re.MULTILINE):
        yield Path(path), names


def apply(patch: Path, root: Path) -> None:
    """Apply a patch to a copy of the library, or of some of its modules."""
    # No repository above the copy may take part.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent)}
    subprocess.run(["git", "apply", "-p3", str(patch)], cwd=root, env=environment, check=True)
