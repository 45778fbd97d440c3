"""How the installed Trainer sets `model_accepts_loss_kwargs`, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass

from gacheck.lint.sources import PACKAGE, Library

FLAG = "model_accepts_loss_kwargs"


@dataclass(frozen=True)
class TrainerSource:
    """What a release's Trainer asks of a model.

    Attributes:
        reads_declaration: Whether it asks for the attribute `accepts_loss_kwargs`.
        asks_kwargs: Whether it asks if forward takes `**` at all.
        asks_name: The name of an argument that it asks for.
    """

    reads_declaration: bool = False
    asks_kwargs: bool = False
    asks_name: str | None = None

    def flag(self, declared: bool | None, names: Collection[str], *, takes_kwargs: bool) -> bool | None:
        """Return what it sets the flag to; None where its source says nothing that is understood."""
        if self.reads_declaration and declared is not None:
            return declared
        if self.asks_kwargs:
            return takes_kwargs
        return None if self.asks_name is None else self.asks_name in names


def read_trainer(library: Library) -> TrainerSource:
    """Read what the Trainer sets its flag to."""
    source = library.source(f"{PACKAGE}.trainer")
    if source is None:
        return TrainerSource()
    values = [
        node.value
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(each, ast.Attribute) and each.attr == FLAG for each in node.targets)
    ]
    inside = [node for value in values for node in ast.walk(value)]
    attributes = {node.attr for node in inside if isinstance(node, ast.Attribute)}
    asked = (_asked_name(node) for node in inside)
    return TrainerSource(
        reads_declaration="accepts_loss_kwargs" in attributes,
        asks_kwargs="VAR_KEYWORD" in attributes,
        asks_name=next((name for name in asked if name is not None), None),
    )


def _asked_name(node: ast.AST) -> str | None:
    """Return the name in `"name" in signature.parameters`."""
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In) and isinstance(node.left, ast.Constant):
        return str(node.left.value)
    return None
