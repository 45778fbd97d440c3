"""What is taken out of a text, and what is not: an error must still say what it says."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from gacheck.errors import one_line
from gacheck.record.redacting import redacted
from gacheck.redaction import redacted_text
from tests.builders import attached_run, failed_pass, run_record


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HOME": "/home/ada",
        "MY_TOKEN": "hunter2hunter",
        "DB_PASSWORD_OLD": "correct-horse",
        "APP_SECRET_2": "battery-staple",
        "SHORT_KEY": "on",
        "PLAIN": "nothing-to-hide",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("train.py --hub_token abc --lr 1", "train.py --hub_token *** --lr 1"),
        ("train.py --hub-token=abc", "train.py --hub-token=***"),
        ("push(hub_token='a b c', x=1)", "push(hub_token=***, x=1)"),
        ('{"api_key": "zzz", "b": 1}', '{"api_key": ***, "b": 1}'),
        ("WANDB_API_KEY=abc python train.py", "WANDB_API_KEY=*** python train.py"),
        ("password: swordfish, user: ada", "password: ***, user: ada"),
        ("login(token=abc)", "login(token=***)"),
        ("GET https://ada:pw@host/x", "GET https://***@host/x"),
        ("https://host/x?token=abc&y=1", "https://host/x?token=***&y=1"),
        ("401 for hf_abcdefghijklmnopqrstuvwx.", "401 for ***."),
        ("sk-proj-abcdefghijklmnop1234 is wrong", "*** is wrong"),
        ("ghp_0123456789012345678901234567", "***"),
        ("Authorization: Bearer abcdefgh", "Authorization: Bearer ***"),
        ("it is hunter2hunter", "it is ***"),
        ("correct-horse and battery-staple", "*** and ***"),
        ("/home/ada/models/x and /home/ada", "~/models/x and ~"),
        ("caf\udce9 of a name in Latin-1", "caf\\udce9 of a name in Latin-1"),
    ],
)
def test_secrets_and_the_home_folder_go(text: str, shown: str) -> None:
    assert redacted_text(text) == shown
    assert redacted_text(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "forward() got an unexpected keyword argument 'num_items_in_batch'",
        "KeyError: 'labels'",
        "missing key: lm_head.weight",
        "Unexpected token: '}'",
        "num_target_tokens=16, max_new_tokens: 5",
        "pad_token='<pad>' eos_token=</s> --pad_token x",
        "self.key = 5, query_key_value, sorted(key=abc)",
        "token 5 is out of range; the tokenizer has 300",
        "--tokenizer ./mine --dataset task-of-a-long-name-indeed",
        "hf_model_with_a_long_name_of_words",
        "/mnt/home/ada/x /home/adam /home/ada.old",
        "nothing-to-hide on",
        "https://huggingface.co/a/b@main",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted_text(text) == text


def test_a_secret_that_is_cut_is_gone_before() -> None:
    said = one_line(ValueError("x" * 290 + " hf_" + "a" * 34))
    assert "hf_" not in said
    assert "battery" not in one_line("y" * 294 + "battery-staple")


@pytest.mark.parametrize("piece", ["eyJ-", "a-", "--token ", "token='", "://a", "_key=", "sk-"])
def test_a_long_text_takes_no_long_time(piece: str) -> None:
    started = time.perf_counter()
    redacted_text(piece * 20_000)
    one_line(piece * 2_000_000)
    assert time.perf_counter() - started < 5


def test_a_record_is_redacted_throughout() -> None:
    planted = "at /home/ada/x with hub_token=abc, hunter2hunter"
    clean = "at ~/x with hub_token=***, ***"
    record = run_record([failed_pass(1, "on")], config={"model": "/home/ada/m", "config_override": {"a": planted}})
    (failed,) = record.passes
    assert failed.error is not None
    failed = failed.model_copy(
        update={"error": failed.error.model_copy(update={"message": planted}), "unseen": (planted,)}
    )
    location = replace(record.oracle.loss_location[0], file="/home/ada/modeling.py")
    oracle = record.oracle.model_copy(update={"loss_location": (location,)})

    seen = redacted(record.model_copy(update={"passes": (failed,), "oracle": oracle}))

    assert seen.config.model == "~/m"
    assert seen.config.config_override == {"a": clean}
    assert seen.passes[0].error is not None
    assert (seen.passes[0].error.message, seen.passes[0].unseen) == (clean, (clean,))
    assert seen.oracle.loss_location[0].file == "~/modeling.py"
    assert redacted(seen) == seen


def test_the_word_after_an_option_that_names_a_secret_goes() -> None:
    typed = ("gacheck", "attach", "--", "python", "t.py", "--hub_token", "abc", "--wandb-api-key", "x y", "--push")
    record = attached_run("token_mean").model_copy(update={"command": typed})
    shown = ("gacheck", "attach", "--", "python", "t.py", "--hub_token", "***", "--wandb-api-key", "***", "--push")
    assert redacted(record).command == shown
    assert redacted(("--use_auth_token", "--lr", "1")) == ("--use_auth_token", "--lr", "1")


def test_a_record_without_anything_to_hide_is_left_as_it_is() -> None:
    record = run_record([failed_pass(1, "on")])
    assert redacted(record) is record
    assert Path.home() == Path("/home/ada")
