"""How the installed Trainer sets `model_accepts_loss_kwargs`, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass

from gacheck.lint.sources import PACKAGE, Library
from gacheck.lint.values import COUNT

FLAG = "model_accepts_loss_kwargs"


@dataclass(frozen=True)
class TrainerSource:
    """What a release's Trainer asks of a model.

    Attributes:
        reads_declaration: Whether it asks for the attribute `accepts_loss_kwargs`.
        asks_kwargs: Whether it asks if forward takes `**` at all.
        asks_name: The name of an argument that it asks for.
        divides_uncounted: Whether it divides by k, though the flag is on, where it counted no items.
    """

    reads_declaration: bool = False
    asks_kwargs: bool = False
    asks_name: str | None = None
    divides_uncounted: bool = False

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
        divides_uncounted=_divides_uncounted(source.tree),
    )


def _divides_uncounted(tree: ast.Module) -> bool:
    """Whether what decides over the division by k asks, besides the flag, if there is a count."""
    steps = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "training_step")
    conditions = (n for step in steps for n in ast.walk(step) if isinstance(n, ast.BoolOp))
    return any({FLAG, COUNT} <= _mentioned(node) for node in conditions)


def _mentioned(node: ast.AST) -> set[str]:
    inside = list(ast.walk(node))
    return {n.id for n in inside if isinstance(n, ast.Name)} | {n.attr for n in inside if isinstance(n, ast.Attribute)}


def _asked_name(node: ast.AST) -> str | None:
    """Return the name in `"name" in signature.parameters`."""
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In) and isinstance(node.left, ast.Constant):
        return str(node.left.value)
    return None
