"""The terminal: the shape that a person relies on, for every kind of record."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from gacheck.reporters import text
from gacheck.reporters.reporter import View
from gacheck.reporters.terminal import render_headline, render_terminal, render_verdict
from gacheck.words.analysis import Analysis, analyse
from tests.builders import failed_pass, full_run, oracle, pass_record, run_record
from tests.reporters.cases import KS, RECORDS

SAVED = "gacheck-runs/gemma3-1123-2114/   record.json  loss.png"
FORBIDDEN = ("natural", "oracle", "gap", "nats", "noise floor", "reference")


def show(name: str, **options: object) -> str:
    return render_terminal(analyse(RECORDS[name]), View(saved=SAVED, **options))  # type: ignore[arg-type]


def line_with(shown: str, start: str) -> str:
    return next(line for line in shown.splitlines() if line.startswith(start))


@pytest.mark.parametrize("name", RECORDS)
def test_fits_one_screen_and_ends_with_the_verdict(name: str) -> None:
    analysis, shown = analyse(RECORDS[name]), show(name)
    lines = shown.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert len(lines) <= 40
    assert not any(line != line.rstrip() for line in lines)
    assert not [word for word in FORBIDDEN if re.search(rf"\b{word}\b", shown.lower())]

    verdict = render_verdict(analysis, View(saved=SAVED))
    assert shown.endswith("\n\n" + verdict)
    assert re.match(r"(OK    |WARN  |FAIL  |\?     )\S", verdict)
    fields = re.findall(r"^ (\w+) ", verdict, re.MULTILINE)
    more = ["more"] if fields[-1] == "more" else []
    second = "compared" if analysis.ok else "training"
    assert [f for f in fields if f != "note"] == ["why", second, "fix", "saved", *more]


def test_scaled_to_the_letter() -> None:
    shown = show("scaled").splitlines()
    assert shown[:20] == [
        "gacheck 0.1.0 · transformers 5.23.0 · torch 2.13.0 · cpu · float32",
        "model  Gemma3ForConditionalGeneration (tiny stand-in, random weights)",
        "flag   model_accepts_loss_kwargs = True, chosen by the Trainer because the",
        "       model's forward takes **kwargs; the class declares nothing",
        "data   8 rows a step (micro-batch 8/k × k), 100 target tokens, lengths 5-33",
        "passes 8 of 8 done in 4 s; same start weights, same rows; dropout off",
        "",
        "First-step loss. The right answer is 5.150 for every k.",
        "",
        "          flag on (default)         flag off                  on − off",
        "     k      loss  ratio    grad      loss  ratio   grad           loss",
        "     1     5.150  1.000   1.000     5.150  1.000  1.000          0.000",
        "     2    10.358  2.011   1.667     5.179  1.006  0.833         +5.179",
        "     4    21.333  4.142   4.167     5.333  1.036  1.042        +16.000",
        "     8    42.038  8.163  12.500     5.255  1.020  1.562        +36.783",
        "          = sum of means            = mean of means",
        "          ratio, grad: this pass's loss, gradient norm / the right one",
        "",
        "     k=1   on  ██████ 5.150",
        "           off ░░░░░░ 5.150",
    ]
    assert shown[25] == f"           off {'░' * 6} 5.255"
    assert shown[24] == f"     k=8   on  {'█' * 48} 42.038"
    assert shown[27] == "FAIL  SCALED_BY_ACCUMULATION: the loss is k times too large"
    assert " fix       trainer.model_accepts_loss_kwargs = False   # before trainer.train()" in shown
    assert f" saved     {SAVED}" in shown
    assert shown[-1] == " more      gacheck explain SCALED_BY_ACCUMULATION"


def test_right_is_short_and_has_no_table() -> None:
    shown = show("right")
    assert "\n\nOK    the loss does not depend on gradient_accumulation_steps\n why " in shown
    assert "█" not in shown
    assert "more" not in shown
    assert "First-step loss." not in shown
    words = " ".join(shown.split())
    assert "at k = 1, 2, 4, 8, with the flag on (default): all agree with the right answer" in words


def test_what_is_short_is_whole_with_verbose() -> None:
    shown = show("right", verbose=True)
    assert "          = right                 = mean of means\n" in shown
    assert "█" not in shown
    assert re.search(r"Fits the right answer (exactly|to \de-\d+)", shown)
    # By default it is said in words how sure a fault is, and not in numbers.
    assert "Fits" not in show("scaled")
    assert "no other rule does" in " ".join(show("scaled").split())


@pytest.mark.parametrize("name", RECORDS)
def test_a_headline_is_one_line(name: str) -> None:
    line = render_headline(analyse(RECORDS[name]))
    assert re.fullmatch(r"(OK|WARN|FAIL|\?)( [A-Z_]+)?(, loss \S+, right \S+)?", line)


def test_default_marks_what_the_trainer_chooses() -> None:
    assert "flag off (default)" in show("scaled off")
    assert "flag on (default)" not in show("scaled off")


def test_partial_says_so_and_leaves_cells_open() -> None:
    shown = show("partial")
    assert "passes 5 of 8 done (incomplete);" in shown
    assert "not run" in line_with(shown, "     8 ")
    # One micro-batch a step is right under most rules: no praise of the flag.
    assert "= right (at k=1)" in shown


def test_failed_passes_give_their_reason_once() -> None:
    shown = show("refused")
    head = shown.split("FAIL  ")[0]
    assert len(re.findall(r"^ +\d +failed ", head, re.MULTILINE)) == 4
    assert head.count("got an unexpected") == 1
    assert "failed: k=1, 2, 4, 8 on: TypeError" in head


def test_flag_that_only_failed_has_no_bars() -> None:
    passes = [failed_pass(k, "on", auto=False) for k in KS]
    passes += [pass_record(k, "off", "sum_of_means", auto=False) for k in KS]
    shown = render_terminal(analyse(run_record(passes)))
    assert "     k=8   off ░" in shown
    assert " on  failed" not in shown


def test_not_finite_is_shown_where_it_is() -> None:
    shown = show("nan")
    assert re.search(r"^     2 +nan +– +inf ", shown, re.MULTILINE)
    assert "not finite in a later step: k=4 on" in shown
    assert re.search(r"^     2 +inf ", show("inf"), re.MULTILINE)


def test_one_flag_has_no_other_columns() -> None:
    shown = show("one flag")
    assert "flag off" not in shown.split("FAIL")[0]
    assert "on − off" not in shown
    assert "for every k" in shown
    assert "for every k" not in show("one pass")


def test_right_answers_that_differ_have_a_column() -> None:
    shown = show("per device")
    assert "The right answer depends on k" in shown
    assert re.search(r"^     k +right +loss ", shown, re.MULTILINE)
    # k=2: (40 + 100) nats over 24 tokens.
    assert re.search(r"^     2 +5\.833 +11\.250 ", shown, re.MULTILINE)
    assert "1 row a micro-batch, 1 × k a step, 8-100 target tokens" in shown


def test_rules_that_differ_by_row_are_named_by_row() -> None:
    words = " ".join(show("rules by row").split())
    assert "flag on: k=1 no rule fits, k=2 mean of means, k=4 no rule fits, k=8 right" in words
    assert "= sum of means" in words


def test_a_long_rule_is_broken_under_its_own_column() -> None:
    shown = show("long labels").splitlines()
    first = next(i for i, line in enumerate(shown) if "= mean of means" in line)
    assert shown[first : first + 4] == [
        "                    = mean of means +        = counted before the",
        "                      auxiliary loss per       shift + auxiliary",
        "                      micro-batch              loss per",
        "                                               micro-batch",
    ]
    # What fits on one line stays there.
    assert "= sum of means × world size  = mean of means / world size" in show("two processes")


def test_the_end_of_an_epoch_stands_below_the_table() -> None:
    words = " ".join(show("tail").split())
    assert "end of an epoch at k=4, flag off: 3 of 4 micro-batches, mean of means over the configured k" in words
    assert "end of an epoch at k=4, flag on: failed with OutOfMemoryError" in words
    assert "5 of 6 done (incomplete), 1 failed" in words
    # It is no row of the table and does not hide the rule of the column.
    assert "= mean of means\n" in show("tail")


def test_bars_give_way_to_the_line_limit() -> None:
    ks = (1, 2, 4, 8, 16)
    rows = [(5.0 * n, n) for n in range(4, 20)]
    passes = [pass_record(k, "on", "sum_of_means", rows=rows) for k in ks]
    passes += [pass_record(k, "off", "mean_of_means", rows=rows) for k in ks]
    record = run_record(passes, config={"effective_batch_size": 16}, oracle_record=oracle(rows))
    shown = render_terminal(analyse(record), View(saved=SAVED))
    assert len(shown.splitlines()) <= 40
    assert "k=16   on  █" in shown
    assert "░" not in shown


FLAG_LINES = [
    (True, None, True, "True, {by} because the model's forward takes **kwargs; the class declares nothing"),
    (False, False, True, "False, {by} because the class declares accepts_loss_kwargs = False"),
    (
        True,
        False,
        True,
        "True, {by} because the model's forward takes **kwargs; "
        "the class declares accepts_loss_kwargs = False, which it did not heed",
    ),
    (False, None, False, "False, {by} because the model's forward takes no **kwargs; the class declares nothing"),
    (True, None, False, "True, {by}; the model's forward takes no **kwargs, the class declares nothing"),
]


@pytest.mark.parametrize(("auto", "declared", "inferred", "words"), FLAG_LINES)
def test_flag_line(auto: bool, declared: bool | None, inferred: bool, words: str) -> None:
    record = full_run("token_mean", "mean_of_means", auto=auto)
    model = record.model.model_copy(update={"accepts_loss_kwargs_declared": declared, "forward_has_kwargs": inferred})
    shown = render_terminal(analyse(record.model_copy(update={"model": model})))
    words = words.format(by="chosen by the Trainer")
    assert f"flag model_accepts_loss_kwargs = {words} data " in " ".join(shown.split())


def test_flag_is_not_known_before_a_pass() -> None:
    assert "model_accepts_loss_kwargs is not known: no pass ran" in show("nothing")
    assert "No pass has run yet." in show("nothing")


def test_hostile_words_stay_words() -> None:
    for shown in (show("hostile"), render_verdict(analyse(RECORDS["hostile"]))):
        assert not [c for c in shown if not c.isprintable() and c != "\n"]
        assert not [line for line in shown.splitlines() if line.startswith("OK")]
        shown.encode("utf-8")
    assert "[bold]x[/]" in show("hostile")
    assert r"\x1b[2J" in show("hostile")


def test_long_error_is_cut_long_path_is_not() -> None:
    record = run_record([RECORDS["all failed"].passes[0]])
    error = record.passes[0].error
    assert error is not None
    failed = record.passes[0].model_copy(update={"error": error.model_copy(update={"message": "x y " * 5000})})
    path = "/very/long" * 12 + "/record.json"
    shown = render_terminal(analyse(record.model_copy(update={"passes": (failed,)})), View(saved=path))
    assert path in shown
    assert len(shown.splitlines()) <= 40


def test_color_is_only_color() -> None:
    for name in RECORDS:
        colored = show(name, color=True)
        assert "\x1b[1;3" in colored
        assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == show(name)


def test_ascii_is_ascii() -> None:
    shown = show("scaled", ascii=True)
    assert shown.isascii()
    assert "#" * 48 in shown


def test_never_wider_than_80_columns() -> None:
    assert show("scaled", width=200) == show("scaled")


@pytest.mark.parametrize("name", RECORDS)
def test_at_60_columns_nothing_is_cut_and_no_word_broken(name: str) -> None:
    shown, wide = show(name, width=60, verbose=True), show(name, verbose=True)
    lines = [line for line in shown.splitlines() if not line.startswith(" saved")]
    assert max(map(cell_len, lines)) <= 60
    bars = re.compile("[█░]+")
    assert {word for word in shown.split() if not bars.fullmatch(word)} <= set(wide.split())


def test_a_line_of_code_stays_whole_where_its_comment_has_no_room() -> None:
    lines = show("scaled", width=60).splitlines()
    code = lines.index(" fix       trainer.model_accepts_loss_kwargs = False")
    assert lines[code + 1] == "           # before trainer.train()"


def test_quiet_is_the_verdict_alone() -> None:
    quiet = render_verdict(analyse(RECORDS["scaled"]))
    assert quiet.startswith("FAIL  SCALED_BY_ACCUMULATION")
    assert "saved" not in quiet


def test_severities_have_their_heads() -> None:
    heads = {name: render_verdict(analyse(RECORDS[name])).split(":")[0] for name in RECORDS}
    assert heads["unshifted"] == "WARN  UNSHIFTED_TOKEN_COUNT"
    assert heads["all failed"] == "?     INCONCLUSIVE"
    assert heads["scaled off"] == "FAIL  SCALED_BY_ACCUMULATION"


def test_header_names_autocast_and_device() -> None:
    record = RECORDS["scaled"]
    hardware = record.hardware.model_copy(
        update={"device": "cuda", "device_name": "NVIDIA X", "autocast": "bfloat16", "world_size": 2}
    )
    analysis: Analysis = analyse(record.model_copy(update={"hardware": hardware}))
    words = " ".join(render_terminal(analysis).split())
    assert "cuda (NVIDIA X) · float32 · bfloat16 autocast · 2 processes" in words


def test_numbers() -> None:
    assert [text.figure(v) for v in (None, 5.1234, 0.0, 1e-5, 1e7, float("nan"), float("-inf"))] == [
        "–", "5.123", "0.000", "1.00e-05", "1.00e+07", "nan", "-inf",
    ]  # fmt: skip
    assert [text.difference(v) for v in (1.0, -1.0, -1e-9, None)] == ["+1.000", "−1.000", "0.000", "–"]
    assert [text.duration(s) for s in (0.1, 59.6, 200)] == ["1 s", "60 s", "3 min 20 s"]


def test_wrap_counts_columns_of_wide_characters() -> None:
    lines = text.wrap("模型" * 40, "model  ", 40)
    assert max(map(cell_len, lines)) <= 40
    assert "".join(line[7:] for line in lines) == "模型" * 40
