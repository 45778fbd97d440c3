"""Edits to classes of transformers that drop the count of target tokens, so that it reaches their loss.

What is edited is found by reading the source; an edit replaces exactly the text that it is about, so that a patch is
as small as one made by hand. Whether it is right is not decided here: `docs/make_upstream.py` measures.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

LINE_LENGTH = 119
"""That of transformers."""
MODULE = "loss.loss_utils"
HELPER = "fixed_cross_entropy"
"""Cross-entropy as the library has it: summed and divided by the count where there is one, a mean otherwise."""
UNSHIFTED, SHIFTED = "ForMaskedLM", "ForCausalLM"
"""Types of a loss: labels at their own position, or one further on."""
USUAL = {"reduction": '"mean"', "ignore_index": "-100"}
"""Options of a cross-entropy that it has by default."""
WHY = {
    UNSHIFTED: "Labels are scored at their own position, so the Trainer must not count them shifted",
    SHIFTED: "The loss shifts the labels, so the Trainer must count them shifted",
}


@dataclass(frozen=True)
class Edit:
    """Bytes of a file that are replaced, for the sake of a class."""

    class_name: str
    start: int
    end: int
    text: str


class Source:
    """The text of a module and where its parts lie."""

    def __init__(self, text: str) -> None:
        self.bytes = text.encode()
        self.tree = ast.parse(text)
        self._starts = [0]
        for line in self.bytes.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return where a node begins and ends."""
        assert isinstance(node, (ast.expr, ast.stmt, ast.keyword, ast.arg))
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def text(self, node: ast.AST) -> str:
        """Return the text of a node."""
        start, end = self.span(node)
        return self.bytes[start:end].decode()

    def lines(self, node: ast.stmt, *, comments: bool) -> tuple[int, int]:
        """Return where the lines of a statement begin and end, perhaps with the comments right above it."""
        first, last = node.lineno - 1, node.end_lineno
        assert last is not None
        while comments and self._line(first - 1).lstrip().startswith(b"#"):
            first -= 1
        return self._starts[first], self._starts[last]

    def _line(self, number: int) -> bytes:
        return self.bytes[self._starts[number] : self._starts[number + 1]]


class Head:
    """A class with a loss, and the edits that let the count reach it."""

    def __init__(self, source: Source, node: ast.ClassDef, loss_types: Sequence[str]) -> None:
        self.source, self.node, self.name = source, node, node.name
        methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
        self._init, self._forward = methods.get("__init__"), methods.get("forward")
        found = re.search("|".join(sorted(loss_types, key=len, reverse=True)), node.name)
        self._family = found.group() if found else None

    def edits(self) -> list[Edit]:
        """Return what is to be replaced; nothing where the class is right, or where it is not known how."""
        forward = self._forward
        if forward is None or forward.args.kwarg is None or "labels" not in _arguments(forward):
            return []
        changes = self._by_problem_type(forward, forward.args.kwarg.arg)
        try:
            changes += changes or self._cross_entropy(forward, forward.args.kwarg.arg)
        except _NotKnown:
            return []
        own = bool(changes)
        changes = list(dict.fromkeys(changes)) + self._without_kwargs(forward, forward.args.kwarg.arg)
        return changes + self._loss_type(forward, own=own) + self._declared()

    def _by_problem_type(self, forward: ast.FunctionDef, kwargs: str) -> list[Edit]:
        """Replace a loss by `config.problem_type`, which the library has as a function."""
        if self._family is None or not self._family.endswith("Classification"):
            return []
        for block in _blocks(forward):
            for first, second in pairwise(block):
                if not (isinstance(first, ast.If) and isinstance(second, ast.If)):
                    continue
                if self.source.text(first.test) != "self.config.problem_type is None":
                    continue
                found = re.search(
                    r"(\w+) = loss_fct\((\w+)\.squeeze\(\), (\w+)\.squeeze\(\)\)", self.source.text(second)
                )
                if found is None or found.group(3) != "labels":
                    continue
                result, logits, labels = found.groups()
                arguments = [f"labels={labels}", f"pooled_logits={logits}", "config=self.config", f"**{kwargs}"]
                indent = second.col_offset
                text = _call(f"{result} = self.loss_function", arguments, indent)
                return [Edit(self.name, self.source.span(first)[0], self.source.span(second)[1], text)]
        return []

    def _cross_entropy(self, forward: ast.FunctionDef, kwargs: str) -> list[Edit]:
        """Replace cross-entropies of the class's own by the library's, which is told the count."""
        modules = sorted((*_loss_modules(self._init), *_loss_modules(forward)), key=lambda each: each.lineno)
        derived, changes, used = _derived(forward), [], list[ast.Assign]()
        for call in _calls(forward):
            module = _module_of(call, modules)
            name = self.source.text(call.func)
            if module is not None:
                assert isinstance(module.value, ast.Call)
                options = module.value.keywords
                used += [module] if module not in used else []
            elif name in ("nn.functional.cross_entropy", "F.cross_entropy"):
                options = call.keywords
            else:
                continue
            changes.append(self._replaced(call, options, derived, kwargs))
        # Another loss in the same sum has another count.
        if len(set(_added_losses(forward))) > 1:
            raise _NotKnown
        return changes + [Edit(self.name, *self.source.lines(each, comments=False), "") for each in used]

    def _replaced(self, call: ast.Call, options: list[ast.keyword], derived: set[str], kwargs: str) -> Edit:
        given = {each.arg: self.source.text(each.value) for each in options}
        # What ignores another label than the Trainer scores fewer than it counts.
        if (
            any(given[name] != usual for name, usual in USUAL.items() if name in given)
            or not given.keys() <= USUAL.keys()
        ):
            raise _NotKnown
        if len(call.args) != 2 or not _names(call.args[1]) & derived:
            raise _NotKnown
        arguments = [*map(self.source.text, call.args), f"**{kwargs}"]
        return Edit(
            self.name, *self.source.span(call), _call(HELPER, arguments, self._indent(call), self._before(call))
        )

    def _without_kwargs(self, forward: ast.FunctionDef, kwargs: str) -> list[Edit]:
        """Pass the count on to the library's loss."""
        changes = []
        for call in _calls(forward):
            names = [each.arg for each in call.keywords]
            if self.source.text(call.func) == "self.loss_function" and not {None, "ignore_index"} & {*names}:
                arguments = [self.source.text(each) for each in (*call.args, *call.keywords)] + [f"**{kwargs}"]
                text = _call("self.loss_function", arguments, self._indent(call), self._before(call))
                changes.append(Edit(self.name, *self.source.span(call), text))
        return changes

    def _loss_type(self, forward: ast.FunctionDef, *, own: bool) -> list[Edit]:
        """Say of what type the loss is, where the name of the class says nothing, or something else."""
        text = self.source.text(forward)
        shifts = any(map(_shifts, ast.walk(forward)))
        if own and self._family == SHIFTED and not shifts:
            kind = UNSHIFTED
        elif self._family is None and (shifts if own else "self.loss_function(" in text):
            kind = SHIFTED
        else:
            return []
        body = self._init.body if self._init else []
        begun = next((each for each in body if self.source.text(each).startswith("super().__init__")), None)
        if begun is None or "self.loss_type" in self.source.text(self.node):
            return []
        end = self.source.span(begun)[1]
        space = "\n" + " " * begun.col_offset
        return [Edit(self.name, end, end, f'{space}# {WHY[kind]}{space}self.loss_type = "{kind}"')]

    def _declared(self) -> list[Edit]:
        """Drop a declaration that the count is not used: it is."""
        return [
            Edit(self.name, *self.source.lines(each, comments=True), "")
            for each in self.node.body
            if isinstance(each, ast.Assign) and self.source.text(each) == "accepts_loss_kwargs = False"
        ]

    def _indent(self, node: ast.expr) -> int:
        line = self.source.bytes.splitlines()[node.lineno - 1]
        return len(line) - len(line.lstrip())

    def _before(self, node: ast.expr) -> int:
        return node.col_offset - self._indent(node)


class _NotKnown(Exception):
    """A loss that no edit here makes right."""


def _call(name: str, arguments: Sequence[str], indent: int, before: int = 0) -> str:
    """Lay out a call as the library's formatter does."""
    flat = f"{name}({', '.join(arguments)})"
    if "\n" not in flat and indent + before + len(flat) <= LINE_LENGTH:
        return flat
    inner, outer = " " * (indent + 4), " " * indent
    joined = ", ".join(arguments)
    if "\n" not in joined and len(inner) + len(joined) <= LINE_LENGTH:
        return f"{name}(\n{inner}{joined}\n{outer})"
    return f"{name}(\n" + "".join(f"{inner}{each},\n" for each in arguments) + f"{outer})"


def _arguments(function: ast.FunctionDef) -> list[str]:
    return [each.arg for each in (*function.args.args, *function.args.kwonlyargs)]


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _calls(function: ast.FunctionDef) -> list[ast.Call]:
    found = [each for each in ast.walk(function) if isinstance(each, ast.Call)]
    return sorted(found, key=lambda each: (each.lineno, each.col_offset))


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for each in ast.walk(node):
        for name in ("body", "orelse"):
            block = getattr(each, name, None)
            if isinstance(block, list):
                yield block


def _loss_modules(function: ast.FunctionDef | None) -> Iterator[ast.Assign]:
    for each in ast.walk(function) if function else ():
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Call) and not each.value.args:
            name = ast.unparse(each.value.func)
            if name in ("CrossEntropyLoss", "nn.CrossEntropyLoss", "torch.nn.CrossEntropyLoss"):
                yield each


def _shifts(node: ast.AST) -> bool:
    """Whether it is `labels[..., 1:]`, or is called as what comes of it."""
    if isinstance(node, ast.Name):
        return node.id.startswith("shift")
    if not isinstance(node, ast.Subscript) or "labels" not in _names(node.value):
        return False
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return any(
        isinstance(each, ast.Slice) and each.lower is not None and ast.unparse(each.lower) == "1" for each in parts
    )


def _module_of(call: ast.Call, modules: Sequence[ast.Assign]) -> ast.Assign | None:
    """Return the loss that a call is of: what its name was last set to."""
    name = ast.unparse(call.func)
    before = (each for each in reversed(modules) if each.lineno < call.lineno)
    return next((each for each in before if ast.unparse(each.targets[0]) == name), None)


def _derived(function: ast.FunctionDef) -> set[str]:
    """Return the names of what is made of the labels."""
    names = {"labels"}
    assigned = [each for each in ast.walk(function) if isinstance(each, ast.Assign)]
    for each in sorted(assigned, key=lambda statement: statement.lineno):
        if _names(each.value) & names:
            names |= {name for target in each.targets for name in _names(target)}
    return names


def _added_losses(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the names of losses of different targets that one forward sums."""
    for each in _calls(function):
        if isinstance(each.func, ast.Name) and each.func.id.startswith("loss_f") and len(each.args) == 2:
            yield from _names(each.args[1]) & set(_arguments(function)) - {"self"}


def edits_of(text: str, loss_types: Sequence[str]) -> list[Edit]:
    """Return the edits of every class of a module."""
    source = Source(text)
    classes = [each for each in source.tree.body if isinstance(each, ast.ClassDef)]
    return [edit for each in classes for edit in Head(source, each, loss_types).edits()]


def edited(text: str, edits: Sequence[Edit], depth: int) -> str:
    """Return a module with these edits, and with the imports that it then needs.

    Args:
        text: The module.
        edits: What is replaced.
        depth: How many packages its own lies below that of the library.
    """
    changed = text.encode()
    for edit in sorted(edits, key=lambda each: each.start, reverse=True):
        changed = changed[: edit.start] + edit.text.encode() + changed[edit.end :]
    return _imported(_without_unused(changed.decode()), depth)


def _without_unused(text: str) -> str:
    """Drop losses that are imported and no longer used."""
    found = re.search(r"^from torch\.nn import (\w+(?:, \w+)*)\n", text, re.MULTILINE)
    if found is None:
        return text
    rest = text[: found.start()] + text[found.end() :]
    used = [each for each in found.group(1).split(", ") if re.search(rf"(?<![\w.]){each}\b", rest)]
    line = f"from torch.nn import {', '.join(used)}\n" if used else ""
    return text[: found.start()] + line + text[found.end() :]


def _imported(text: str, depth: int) -> str:
    """Import the library's cross-entropy where it is used and not there yet."""
    there = rf"^(from .*import .*|def ){HELPER}\b"
    if not re.search(rf"\b{HELPER}\(", text) or re.search(there, text, re.MULTILINE):
        return text
    dots = "." * (depth + 1)
    lines = text.splitlines(keepends=True)
    before = f"from {dots}{MODULE} import "
    own = next((n for n, line in enumerate(lines) if line.startswith(before) and "(" not in line), None)
    if own is not None:
        names = sorted([HELPER, *lines[own].removeprefix(before).strip().split(", ")], key=str.lower)
        lines[own] = f"{before}{', '.join(names)}\n"
        return "".join(lines)
    relative = [n for n, line in enumerate(lines) if line.startswith(f"from {dots}") and line[5 + len(dots)] != "."]
    later = [n for n in relative if lines[n].split()[1] > f"{dots}{MODULE}"]
    place = later[0] if later else relative[-1] + 1
    return "".join([*lines[:place], f"{before}{HELPER}\n", *lines[place:]])


def depth_of(path: Path) -> int:
    """Return how many packages below the library's a module lies, from its path in it."""
    return len(path.parts) - 1
