"""What README and docs say against what is: codes, links, paths, figures, targets and options.

Every check is a function that lists what is wrong, so that a planted error can show that it is found.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from gacheck.cli import app
from gacheck.core.finding import GRADIENT_AGREES
from gacheck.rules.facts import GradientProducts
from gacheck.rules.gradients import GradientError, gradient_error, multiple, multipliers
from gacheck.rules.matching import relative_error
from gacheck.rules.table import (
    RULES,
    RULES_BY_NAME,
    SEVERITY,
    MicroBatch,
    OptimizerStep,
    Rule,
    rule_table,
    severity_of,
)
from gacheck.words.faults.fault import PAGE
from tests.makers import load_maker
from tests.test_layers import ALLOWED

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
HOW_IT_WORKS = ROOT / "docs" / "how-it-works.md"
FAULTS = ROOT / PAGE
PLACES = ("Trainer script", "Model class", "LLaMA-Factory", "TRL")
PARTS = ("What it is.", "Arithmetic.", "How it looks.", "Which releases.")

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
INDENTED = re.compile(r"^ {4}(\S.*)$", re.MULTILINE)
OPTION = re.compile(r"(?<![\w<-])--[a-z][a-z0-9-]*")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


MAKER = load_maker("make_examples")


# Links


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings."""
    headings = (re.sub(r"[^\w\- ]", "", h.strip().lower()) for h in HEADING.findall(FENCE.sub("", text)))
    return {heading.replace(" ", "-") for heading in headings}


def broken_links(text: str, page: Path) -> Iterator[str]:
    for link in LINK.findall(FENCE.sub("", text)):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists():
            yield f"{page.name}: {link} leads nowhere"
        elif anchor and anchor not in anchors(text if target == page else read(target)):
            yield f"{page.name}: {link} has no such heading"


def test_local_links_resolve() -> None:
    assert [broken for page in PAGES for broken in broken_links(read(page), page)] == []


def test_a_broken_link_is_found() -> None:
    links = ("nowhere.md", "README.md#no-such-heading", "#no-such-heading")
    text = "# A heading\n" + "".join(f"[text]({link})\n" for link in links)

    assert len(list(broken_links(text, README))) == len(links)


# README


def test_the_first_screen_says_what_to_type() -> None:
    lines = read(README).splitlines()
    first = "\n".join(lines[:40])

    wanted = ("gradient_accumulation_steps`? It should not.", "`make demo`", "`make test`", "loss.png", "## Install")
    assert [each for each in wanted if each not in first] == []
    assert len(lines) <= 220


# Faults


def sections(text: str) -> dict[str, str]:
    """Return the text below every heading of the second level."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_code_has_its_section_in_the_order_of_gravity() -> None:
    headings = [heading for heading in sections(read(FAULTS)) if heading in SEVERITY or heading.isupper()]

    assert headings == list(SEVERITY)
    assert {code.lower() for code in SEVERITY} <= anchors(read(FAULTS))


def incomplete_sections(text: str) -> Iterator[str]:
    for code in SEVERITY:
        section = sections(text)[code]
        yield from (f"{code}: {part}" for part in PARTS if f"**{part}**" not in section)
        if "| all four |" not in section:
            yield from (f"{code}: {place}" for place in PLACES if f"| {place} |" not in section)
        if f"[{code}](#{code.lower()})" not in text:
            yield f"{code}: the list above has no link to it"
        # OK alone is its own word.
        if not re.search(rf"\b{code}\b(: | \(| +the loss)", "".join(FENCE.findall(section))):
            yield f"{code}: no output below it has this verdict"


def test_every_section_is_complete() -> None:
    assert list(incomplete_sections(read(FAULTS))) == []


def test_what_a_section_lacks_is_found() -> None:
    text = read(FAULTS).replace("FAIL  UNEXPLAINED: ", "FAIL  EXPLAINED: ").replace("| TRL | upgrade", "| TRL, upgrade")

    assert {"UNEXPLAINED: no output below it has this verdict", "MISALIGNED_COUNT: TRL"} <= set(
        incomplete_sections(text)
    )


# Examples


def test_examples_are_inserted_as_they_were_printed() -> None:
    texts = MAKER.read_examples()

    assert [page.name for page in PAGES if read(page) != MAKER.insert(read(page), texts)] == [], "run  make docs"


def test_every_example_is_made_and_shown() -> None:
    names = {each.name for each in MAKER.RUNS}
    shown = {block[1] for page in PAGES for block in MAKER.BLOCK.findall(read(page))}

    assert set(MAKER.read_examples()) == names == shown
    assert MAKER.PICTURE in names
    assert (MAKER.EXAMPLES / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_examples_of_the_newest_release_are_of_one_release() -> None:
    assert len(MAKER.newest_releases(MAKER.read_examples())) == 1, "run  make docs"


def wrong_releases(texts: dict[str, str]) -> Iterator[str]:
    for each in MAKER.RUNS:
        release = MAKER.release_of(texts[each.name])
        if each.release != MAKER.NEWEST and release != each.release:
            yield f"{each.name} is of transformers {release}"


def test_every_other_example_is_of_the_release_in_its_name() -> None:
    texts = MAKER.read_examples()

    assert list(wrong_releases(texts)) == []
    assert len(list(wrong_releases({**texts, "smoke-4.50.3": texts["smoke-newest"]}))) == 1


def wrong_captions(text: str, texts: dict[str, str]) -> Iterator[str]:
    """Compare the release that the paragraph above an example names with that of the example."""
    for above, block in zip(text.split("\n\n"), text.split("\n\n")[1:], strict=False):
        found = re.match(r"<!-- example: (\S+)", block)
        # The paragraph above may end another example.
        named = MAKER.release_of(" ".join(above.rpartition("<!-- end -->")[2].split()))
        if found and named and MAKER.release_of(texts[found[1]]) not in (named, None):
            yield f"{found[1]}: the text above it speaks of transformers {named}"


def test_captions_name_the_release_of_the_example() -> None:
    texts = MAKER.read_examples()

    assert [wrong for page in PAGES for wrong in wrong_captions(read(page), texts)] == [], "run  make docs"
    assert len(list(wrong_captions("On transformers\n4.1:\n\n<!-- example: gemma3-4.50.3 -->", texts))) == 1


# A line of `gacheck selftest --verbose` names a mutant, a code and what it affects: for those who work on gacheck.
WIDTH = {"selftest-newest": 88}


def test_examples_fit_80_columns_and_hold_no_date() -> None:
    for name, text in MAKER.read_examples().items():
        assert max(map(len, text.splitlines())) <= WIDTH.get(name, 80), name
        assert text == MAKER.normalise(text), name


def test_an_edited_example_is_found() -> None:
    page = "<!-- example: a -->\n```text\nOK  edited\n```\n<!-- end -->"

    assert MAKER.insert(page, {"a": "OK  printed\n"}) == page.replace("edited", "printed")


def test_the_date_alone_is_normalised() -> None:
    text = "passes 8 of 8 done in 31 s; x\n saved  gacheck-runs/gemma3-0203-0405-2/   record.json\n"

    assert MAKER.normalise(text) == text.replace("0203-0405-2", "1123-2114")


def test_parts_are_cut_out() -> None:
    text = "$ gacheck run\n\nFirst-step loss. One.\n\n  k\n  1\n\n  bars\n\nWARN  X: y\n why z\n"

    assert MAKER.cut(text, MAKER.VERDICT) == "WARN  X: y\n why z\n"
    assert MAKER.cut(text, MAKER.TABLE) == "First-step loss. One.\n\n  k\n  1\n"
    with pytest.raises(ValueError, match="finds nothing"):
        MAKER.cut("$ gacheck run\n", MAKER.VERDICT)


def test_lines_are_picked() -> None:
    page = "<!-- example: a lines: two -->\n```text\n```\n<!-- end -->"

    assert "```text\n2 two\n2 twofold\n```" in MAKER.insert(page, {"a": "1 one\n2 two\n2 twofold\n"})
    with pytest.raises(ValueError, match="no line"):
        MAKER.insert(page, {"a": "1 one\n"})


def test_a_wide_command_is_folded_as_a_shell_reads_it() -> None:
    command = f"gacheck run --model {'m' * 40} --dataset {'d' * 40}"

    assert MAKER.folded("gacheck run --model m") == "gacheck run --model m"
    assert max(map(len, MAKER.folded(command).splitlines())) <= 80
    assert MAKER.folded(command).replace("\\\n", "").split() == command.split()


def example(name: str) -> str:
    """Return an example on one line, so that no line break stands between its words."""
    return " ".join(MAKER.read_examples()[name].split())


def prose(page: Path) -> str:
    """Return a page on one line, without what stands in fences."""
    return " ".join(FENCE.sub("", read(page)).split())


def taken(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    assert found is not None, f"{pattern} is not in the example"
    return found.groups()


def row(name: str, k: int) -> list[float]:
    """Return the numbers in a row of an example's table."""
    found = re.search(rf"^ +{k}  .*$", MAKER.read_examples()[name], re.MULTILINE)
    assert found is not None
    return [float(number) for number in re.findall(r"[\d.]+", found[0])[1:]]


def test_figures_of_the_readme_are_those_of_the_examples() -> None:
    text = prose(README)
    (right,) = taken(r"The right answer is ([\d.]+) ", example("gemma3-4.50.3"))

    assert f"grows from {float(right):.1f} to {row('gemma3-4.50.3', 8)[0]:.1f}" in text
    assert f"Same model, transformers {MAKER.release_of(example('gemma3-newest'))}: OK" in text
    assert "OK the loss does not depend" in example("gemma3-newest")
    assert "Do not set the flag to False" in example("gemma3-newest")


def test_figures_about_sums_are_those_of_the_example() -> None:
    text, shown = prose(HOW_IT_WORKS), example("gemma3-4.57.6")
    (right,) = taken(r"The right answer is ([\d.]+) ", shown)
    (next_best,) = taken(r"next best is (\S+ %) off", shown)
    loss, ratio = row("gemma3-4.57.6", 8)[3:5]

    assert f"the loss at k = 8 is {loss:.3f} and the right answer is {right}" in text
    assert f"The sum differs by {abs(ratio - 1):.1%}".replace("%", " %") in text
    assert f"the next best explanation is {next_best} off" in text


def test_figures_of_the_faults_are_those_of_the_examples() -> None:
    text = prose(FAULTS)
    norm = row("gemma3-4.57.6", 8)[5]
    (tokens,) = taken(r"([\d,]+) target tokens", example("llama-4.57.6"))
    (share,) = taken(r"the loss is (\S+ %) too small", example("llama-4.57.6"))
    labels = int(tokens) + 16  # the first label of each of the 16 rows
    left = row("unexplained-newest", 8)[2]

    assert f"its norm is {1 - norm:.0%} off at k = 8".replace("%", " %") in text
    assert f"16 rows with {labels} label tokens give {share}" in text
    assert share == f"{16 / labels:.1%}".replace("%", " %")
    assert f"at k = 8, {left:.3f} of the right norm" in text
    assert {row("unexplained-newest", k)[1] for k in (1, 2, 4, 8)} == {1.0}, "every loss is right"
    assert "8 of 8 micro-batches" in example("llama-4.46.0"), "the step takes an eighth from the next epoch"
    assert "7 of 8 micro-batches" in example("bart-4.50.3")
    assert "Also: MEAN_OF_MEANS" in example("bart-4.50.3"), "its whole steps are a mean of means, says the note"


def planted(text: str) -> dict[str, str]:
    """Return the mutants that the selftest lists, in one precision, and the verdict on each."""
    found = re.findall(r"^\w+ +float32 +(.+?) +([A-Z_]+) \(\w+\)$", text, re.MULTILINE)
    return dict(found)


def test_the_number_of_planted_faults_is_that_of_the_selftest() -> None:
    verdicts = planted(MAKER.read_examples()["selftest-newest"])
    faults = [name for name, code in verdicts.items() if severity_of(code) != "ok"]

    assert len(faults) > 10
    wanted = {
        README: f"plants {len(faults)} faults",
        HOW_IT_WORKS: f"one at a time, {len(faults)} in all",
        ROOT / "CHANGELOG.md": f"{len(faults)} planted faults",
        ROOT / "Makefile": f"plant {len(faults)} faults",
    }
    assert [page.name for page, said in wanted.items() if said not in read(page)] == []
    # What means another loss, and normalises it rightly, is no fault.
    assert set(verdicts) - set(faults) == {"right", "means another loss"}


# The tree


def tree(text: str) -> list[tuple[str, bool]]:
    """Return the paths of the annotated tree, and whether each has lines below it."""
    block = re.search(r"^```text\n(gacheck/\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block is not None, "there is no tree"
    entries: list[tuple[str, int]] = []
    parents: dict[int, str] = {}
    for line in block[1].splitlines():
        found = re.match(r"^((?:│   |    )*)(?:├── |└── )?(\S+)", line)
        assert found is not None, line
        depth = len(found[1]) // 4 + (1 if "── " in line else 0)
        parents[depth] = parents.get(depth - 1, "") + found[2] if depth else found[2]
        entries.append((parents[depth], depth))
    below = [depth for _, depth in entries[1:]] + [0]
    return [(path, after > depth) for (path, depth), after in zip(entries, below, strict=True)]


def wrong_in_tree(text: str, modules: set[str]) -> Iterator[str]:
    listed = tree(text)
    for path, _ in listed:
        if not (ROOT / path).exists() or path.endswith("/") != (ROOT / path).is_dir():
            yield f"{path} is listed and does not exist"
    closed = [path for path, is_open in listed if path.endswith("/") and not is_open]
    for module in sorted(modules - {path for path, _ in listed}):
        if not module.startswith(tuple(closed)):
            yield f"{module} exists and is not listed"


def modules() -> set[str]:
    """Return the modules that the tree has to list: of an output format that is left to the registry."""
    found = [path for path in (ROOT / "gacheck").rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    return {str(path.relative_to(ROOT)) for path in found if "\nREPORTERS = (" not in read(path)}


def test_the_tree_lists_what_exists() -> None:
    assert list(wrong_in_tree(read(ARCHITECTURE), modules())) == []


def test_what_the_tree_lacks_is_found() -> None:
    text = read(ARCHITECTURE)

    assert len(list(wrong_in_tree(text, {"gacheck/core/planted.py"}))) == 1
    assert len(list(wrong_in_tree(text.replace("matching.py  ", "matcher.py  "), modules()))) == 2


# Arithmetic


def two_rows(text: str) -> OptimizerStep:
    """Read the table | micro-batch m | S_m | n_m | u_m |."""
    rows = re.findall(r"^\| \d+ \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    return OptimizerStep(tuple(MicroBatch(float(s), int(n), int(u)) for s, n, u in rows), len(rows))


def wrong_arithmetic(text: str) -> Iterator[str]:
    step = two_rows(text)
    row = re.compile(r"^\| `([\w*]+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \| `(\w+)` \|$", re.MULTILINE)
    found = row.findall(text)
    applicable = [rule.name for rule in RULES if not any(map(math.isnan, rule.weights(step)))]
    if [name for name, *_ in found] != applicable:
        yield "the rules, or their order, differ"
        return
    for name, weights, contributions, total, code in found:
        rule = RULES_BY_NAME[name]
        if [float(Fraction(w.strip())) for w in weights.split(",")] != pytest.approx(rule.weights(step)):
            yield f"{name}: weights"
        if [float(c) for c in contributions.split(",")] != pytest.approx(rule.contributions(step)):
            yield f"{name}: contributions"
        if float(total) != pytest.approx(sum(rule.contributions(step))):
            yield f"{name}: reported loss"
        if code != rule.code:
            yield f"{name}: code"


def given_step(step: OptimizerStep, given: str) -> tuple[OptimizerStep, int]:
    """Give the two rows what a rule needs besides: k, c, a, o, r or W, as `a = 0.5, 0.3`; return W too."""
    letter, _, values = given.partition(" = ")
    numbers = [float(value) for value in values.split(",")]
    rows = step.micro_batches
    if letter == "k":
        step = replace(step, accumulation_steps=int(numbers[0]))
    elif letter == "c":
        step = replace(step, micro_batches=tuple(replace(m, num_items_in_batch=numbers[0]) for m in rows))
    elif letter == "a":
        pairs = zip(rows, numbers, strict=True)
        step = replace(step, micro_batches=tuple(replace(m, auxiliary_nats=a) for m, a in pairs))
    elif letter == "o":
        pairs = zip(rows, numbers, strict=True)
        step = replace(step, micro_batches=tuple(replace(m, own_count=count) for m, count in pairs))
    elif letter == "r":
        counted = zip(rows, numbers, strict=True)
        step = replace(step, micro_batches=tuple(replace(m, num_rows=int(r)) for m, r in counted))
    return step, int(numbers[0]) if letter == "W" else 1


def wrong_in_given(text: str) -> Iterator[str]:
    row = re.compile(
        r"^\| `([^`]+)` \| (\w = [^|]+) \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \| `(\w+)` \|$", re.MULTILINE
    )
    for name, given, weights, contributions, total, code in row.findall(text):
        step, world_size = given_step(two_rows(text), given)
        rules = rule_table(world_size=world_size, auxiliary=given.startswith("a"))
        rule = next(rule for rule in rules if rule.name == name)
        if [float(Fraction(w.strip())) for w in weights.split(",")] != pytest.approx(rule.weights(step)):
            yield f"{name}: weights"
        if [float(c) for c in contributions.split(",")] != pytest.approx(rule.contributions(step)):
            yield f"{name}: contributions"
        if float(total) != pytest.approx(sum(rule.contributions(step))):
            yield f"{name}: reported loss"
        if {code} != rule.codes:
            yield f"{name}: code"


def test_two_rows_and_what_is_given_besides() -> None:
    text = read(HOW_IT_WORKS)
    step, _ = given_step(two_rows(text), "a = 0.5, 0.3")

    assert list(wrong_in_given(text)) == []
    assert f"here {step.mean_nats:g} in all" in text


def test_a_wrong_number_among_the_given_is_found() -> None:
    text = read(HOW_IT_WORKS)

    wrongs = {
        "1/12, 1/20": "1/12, 1/21",
        "| 2, 1.55 |": "| 2, 1.5 |",
        "| 1.1 |": "| 1.2 |",
        "r = 1, 3": "r = 2, 3",
        "o = 6, 2": "o = 6, 3",
        "W = 4 | W": "W = 3 | W",
    }
    for right, wrong in wrongs.items():
        assert right in text
        assert list(wrong_in_given(text.replace(right, wrong))), wrong


def test_rules_that_say_nothing_of_the_two_rows_are_named() -> None:
    text = read(HOW_IT_WORKS)

    assert [rule.name for rule in RULES if f"| `{rule.name}` | " not in text or f"`{rule.code}` |" not in text] == []


def test_two_rows_by_hand() -> None:
    text = read(HOW_IT_WORKS)
    step = two_rows(text)

    assert (step.num_target_tokens, step.num_label_tokens, step.mean_nats) == (8, 10, 2.75)
    assert list(wrong_arithmetic(text)) == []


def test_a_wrong_number_is_found() -> None:
    text = read(HOW_IT_WORKS)

    for right, wrong in {"1/6, 1/10": "1/6, 1/9", "| 4, 2 |": "| 4, 3 |", "| 2.2 |": "| 2.3 |", "`OK`": "`KO`"}.items():
        assert right in text
        assert len(list(wrong_arithmetic(text.replace(right, wrong)))) == 1, wrong


def vector(text: str) -> list[float]:
    return [float(Fraction(each.strip())) for each in text.split(",")]


def gradients_by_hand(text: str) -> list[list[float]]:
    """Read g_1 = (8, 0) and g_2 = (8, 8)."""
    return [vector(each) for each in re.findall(r"g_\d = \(([^)]+)\)", section_of(text, "A fault by hand"))]


def section_of(text: str, heading: str) -> str:
    return text.split(f"\n### {heading}\n")[1].split("\n### ")[0]


def products(gradient: list[float], replays: list[list[float]]) -> GradientProducts:
    def inner(one: list[float], other: list[float]) -> float:
        return math.fsum(a * b for a, b in zip(one, other, strict=True))

    return GradientProducts(
        parameter=None,
        square=inner(gradient, gradient),
        with_replays=tuple(inner(gradient, each) for each in replays),
        among_replays=tuple(inner(replays[i], replays[j]) for i in range(len(replays)) for j in range(i + 1)),
        noise=0.0,
    )


def held_against(rule: Rule, step: OptimizerStep, gradient: list[float], text: str) -> GradientError:
    """Hold a gradient against a rule's."""
    replays = gradients_by_hand(text)
    factors = multipliers(rule, step, "plain", len(replays))
    assert factors is not None
    error = gradient_error(products(gradient, replays), factors)
    assert error is not None
    return error


def wrong_by_hand(text: str) -> Iterator[str]:
    """Compute what the rules predict for the fault by hand, and how far they are off."""
    step, replays = two_rows(text), gradients_by_hand(text)
    below = section_of(text, "A fault by hand")
    (losses,) = taken(r"returned r = ([\d.]+ and [\d.]+),", " ".join(below.split()))
    measured = vector(losses.replace(" and", ","))
    gradient = [sum(each) for each in zip(*map(vector, re.findall(r"Δ_\d = \(([^)]+)\)", below)), strict=True)]
    rows = re.findall(
        r"^\| `(\S+)` \| (.+?) \| (.+?) \| (\d+) % \| (.+?) \| ([\d.]+) \| ([\d.]+) \|$", below, re.MULTILINE
    )
    if len(rows) < 6:
        yield "rows are missing"
    for name, factors, predicted, off, total, ratio, cosine in rows:
        rule = RULES_BY_NAME[name]
        wanted = multipliers(rule, step, "plain", len(replays))
        error = held_against(rule, step, gradient, text)
        assert wanted is not None
        given = [sum(c * g[i] for c, g in zip(wanted, replays, strict=True)) for i in range(2)]
        if vector(factors) != pytest.approx(wanted):
            yield f"{name}: factors"
        if vector(predicted) != pytest.approx(rule.contributions(step)):
            yield f"{name}: losses"
        if vector(total) != pytest.approx(given):
            yield f"{name}: gradient"
        if off != f"{relative_error(measured, rule.contributions(step)):.0%}".rstrip("%"):
            yield f"{name}: largest error"
        if (ratio, cosine) != (f"{error.norm_ratio:.3f}", f"{error.cosine:.3f}"):
            yield f"{name}: norm ratio or cosine"


def test_a_fault_by_hand() -> None:
    text = read(HOW_IT_WORKS)
    step, below = two_rows(text), section_of(text, "A fault by hand")
    right = held_against(RULES_BY_NAME["token_mean"], step, [8, 4], text)

    assert list(wrong_by_hand(text)) == []
    assert f"a ratio of {right.norm_ratio:.3f}; the cosine" in " ".join(below.split())
    assert f"is {right.relative:.1%} of the right norm".replace("%", " %") in " ".join(below.split())


def test_a_wrong_number_of_a_fault_by_hand_is_found() -> None:
    text = read(HOW_IT_WORKS)

    wrongs = {
        "| 3/10, 1/2 |": "| 3/10, 1/3 |",
        "| 67 % |": "| 66 % |",
        "| 6.4, 4 |": "| 6.4, 5 |",
        "| 1.896 |": "| 1.897 |",
        "g_2 = (8, 8)": "g_2 = (8, 7)",
    }
    for right, wrong in wrongs.items():
        assert right in text
        assert list(wrong_by_hand(text.replace(right, wrong))), wrong


def test_a_fault_of_the_gradient_by_hand() -> None:
    text = read(HOW_IT_WORKS)
    step, below = two_rows(text), " ".join(section_of(text, "A fault of the gradient alone, by hand").split())
    right = RULES_BY_NAME["token_mean"]
    rules = [rule for rule in RULES if not any(map(math.isnan, rule.weights(step)))]
    fitting = {
        each: [rule.name for rule in rules if held_against(rule, step, vector(each), text).relative < GRADIENT_AGREES]
        for each in ("16, 10", "16, 5", "8, 5")
    }
    twice, turned = (held_against(right, step, vector(each), text) for each in ("16, 10", "16, 5"))
    nearest = multiple(products(vector("10, 5"), [gradients_by_hand(text)[1]]))

    assert fitting == {"16, 10": ["token_mean*k"], "16, 5": [], "8, 5": ["token_mean"]}
    assert (twice.norm_ratio, twice.cosine) == pytest.approx((2, 1))
    assert f"a ratio of {turned.norm_ratio:.3f}. The cosine is" in below
    assert f"= {turned.cosine:.3f}." in below
    assert nearest is not None
    assert nearest == pytest.approx((7.5 / 8, 1 / 3))


# Commands


def code_in(text: str) -> list[str]:
    """Return what stands in code: inline, indented or fenced."""
    fenced = [line for block in FENCE.findall(text) for line in block.splitlines()[1:-1]]
    rest = FENCE.sub("", text)
    return [*INLINE.findall(rest), *INDENTED.findall(rest), *(line.removeprefix("$ ") for line in fenced)]


@cache
def options() -> dict[str, set[str]]:
    """Return the options of every command, and under the empty name those of all, of none and of the pytest plugin."""
    group: Any = typer.main.get_command(app)
    found = {
        name: {o for p in each.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        for name, each in group.commands.items()
    }
    plugin = re.findall(r'addoption\(\s*"(--[a-z-]+)"', read(ROOT / "gacheck" / "pytest_plugin.py"))
    beside = {o for p in group.params for o in p.opts} | {"--help", *plugin}
    return {**found, "": beside.union(*found.values())}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", read(ROOT / "Makefile"), re.MULTILINE))


def unknown_words(text: str) -> Iterator[str]:
    known = options()
    for code in code_in(text):
        target = re.fullmatch(r"make ([a-z-]+)", code)
        if target and target[1] not in targets():
            yield f"there is no target {target[1]}"
        # A line may join several programs; other programs' options are their own business.
        for joined in code.split(" && "):
            part = joined.split(" -- ")[0]  # `gacheck attach` stands in front of another program
            part = re.sub(r"^(uvx|pipx run|srun torchrun) .*?(?=gacheck )", "", part)
            command = re.match(r"gacheck ([a-z]+)\b", part)
            if command and command[1] not in known:
                yield f"there is no command {command[1]}"
            elif not part.startswith(("pip ", "- run: ")):
                of = command[1] if command else ""
                yield from (f"there is no option {o} {of}" for o in OPTION.findall(part) if o not in known[of])


def test_targets_options_and_commands_exist() -> None:
    assert [f"{page.name}: {unknown}" for page in PAGES for unknown in unknown_words(read(page))] == []


def test_unknown_words_are_found() -> None:
    texts = [
        "`--no-such`",
        "`make nothing`",
        "    gacheck dance",
        "```\n$ gacheck run --no-such\n```",
        "`gacheck smoke --max-steps 1`",
        "    pip install gacheck && gacheck smoke --no-such",
        "    uvx --from clone gacheck smoke --no-such",
    ]

    assert [text for text in texts if len(list(unknown_words(text))) != 1] == []


def test_every_target_has_a_line_in_the_help() -> None:
    documented = re.findall(r"^([a-z][a-z-]*):.*##", read(ROOT / "Makefile"), re.MULTILINE)

    assert set(documented) == targets()


# Architecture and dependencies


def names(values: frozenset[str]) -> str:
    return ", ".join(sorted(value.removeprefix("gacheck.") for value in values)) or "–"


def layer_rows() -> list[str]:
    return [
        f"| `{module}` | {names(group.ours)} | {names(group.libraries)} | {names(group.late)} |"
        for module, group in ALLOWED.items()
    ]


def test_the_layers_are_those_that_the_test_enforces() -> None:
    page = read(ARCHITECTURE).splitlines()
    found = [line for line in page if line.startswith("| `gacheck")]

    assert found == layer_rows()


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    text = read(ROOT / "docs" / "dependencies.md")
    listed = re.findall(r"^\| ([\w-]+) \| (?!why)", text, re.MULTILINE)

    # An extra may ask for the others: gacheck[peft].
    assert sorted(listed) == sorted({re.split(r"[<>=\[; ]", d)[0] for d in wanted} - {project["name"]})
