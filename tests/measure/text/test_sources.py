"""Sources: every format gives the same rows; whatever is wrong with one is said in a single message."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import exceptions
from huggingface_hub import errors as hub_errors

from gacheck.errors import ConfigError, DataError, GacheckError, ResourceError
from gacheck.measure.text.rows import NUM_HELDOUT_ROWS, Rows, make_rows
from gacheck.measure.text.sources import BUILTIN, READERS, TextSource, builtin_texts, open_text
from tests.measure.modelling import small_config, stand_in_tokenizer

TEXTS = ["plain", "NA", "null", "007", "1e3", 'a "quote", and a comma', " spaces ", "日本語 é 😀", "1999 or so", "Ünï"]
EOS = 99


class Letters:
    """A tokenizer with a token for every letter: a is 0."""

    def __init__(self, eos_token_id: int | None = EOS) -> None:
        self.eos_token_id = eos_token_id
        self.seen: list[str] = []

    def __call__(self, text: str, **options: object) -> dict[str, list[int]]:
        self.seen.append(text)
        return {"input_ids": [ord(letter) - ord("a") for letter in text]}


def write(path: Path, texts: list[str], column: str = "text") -> Path:
    """Write a row for each text in the format that the ending says, a number beside it."""
    rows = [{"n": number, column: text} for number, text in enumerate(texts)]
    ending = path.name.removesuffix(".gz").rpartition(".")[2]
    if ending == "parquet":
        datasets.Dataset.from_list(rows).to_parquet(str(path))
        return path
    with (
        gzip.open(path, "wt", encoding="utf-8", newline="")
        if path.suffix == ".gz"
        else path.open("w", encoding="utf-8", newline="") as file
    ):
        if ending == "txt":
            file.write("".join(f"{text}\n" for text in texts))
        elif ending == "jsonl":
            file.write("".join(json.dumps(row) + "\n" for row in rows))
        elif ending == "json":
            json.dump(rows, file, ensure_ascii=False, indent=1)
        else:
            writer = csv.DictWriter(file, ["n", column])
            writer.writeheader()
            writer.writerows(rows)
    return path


def texts_of(path: Path | str, **options: object) -> list[str]:
    return list(open_text(small_config(dataset=str(path), **options)).texts())


def rows_of(texts: Iterator[str] | list[str], tokenizer: Any = None, **options: object) -> Rows:
    """Make rows of a user's texts; one optimizer step of one row, unless told otherwise."""
    small = {"gradient_accumulation_steps": (1,), "effective_batch_size": 1, "max_steps": 1, "dataset": "my.txt"}
    config = small_config(**{**small, **options})
    return make_rows(TextSource("my.txt", lambda: iter(texts)), tokenizer or Letters(), config)


def tokens(rows: Rows) -> list[list[int]]:
    return [row["input_ids"] for part in (rows.train, rows.heldout) for row in part]


@pytest.mark.parametrize("ending", READERS)
def test_every_format_gives_the_same_texts(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"texts{ending}", TEXTS)
    source = open_text(small_config(dataset=str(path)))
    assert list(source.texts()) == TEXTS
    assert list(source.texts()) == TEXTS  # from the beginning
    assert source.name == str(path)


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    def made(ending: str) -> tuple[list[list[int]], str]:
        config = small_config(dataset=str(write(tmp_path / f"texts{ending}", TEXTS * 4)))
        rows = make_rows(open_text(config), stand_in_tokenizer(), config)
        assert rows.facts.source.endswith(ending)
        return tokens(rows), rows.facts.fingerprint

    first, *others = [made(ending) for ending in READERS]
    assert len(first[0]) == 16 + NUM_HELDOUT_ROWS
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("crlf.txt", b"a\r\n\r\nb\r\n", ["a", "b"]),
        ("blank.txt", b"\n\na\n \n\t\n b\n\n", ["a", " b"]),
        ("bom.txt", b"\xef\xbb\xbfa\nb", ["a", "b"]),
        ("separators.txt", "a\x0cb\u2028c\nd".encode(), ["a\x0cb\u2028c", "d"]),
        ("star*[1]?.txt", b"a\n", ["a"]),
        ("UPPER.TXT", b"a\n", ["a"]),
        ("bom.jsonl", b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b\\n\\u00e9"}\r\n', ["a", "b\né"]),
        ("blank.jsonl", b'{"text": "a"}\n\n{"text": "b"}\n\n', ["a", "b"]),
        ("bom.json", b'\xef\xbb\xbf[{"text": "a"}, {"text": "b"}]', ["a", "b"]),
        ("strings.json", b'["a", "b"]', ["a", "b"]),
        ("bom.csv", b'\xef\xbb\xbf"text",n\r\n"a\r\nb",1\r\n"c ""d"", e",2\r\n', ["a\r\nb", 'c "d", e']),
        ("blank.csv", b"n,text\n1,a\n\n2,b\n", ["a", "b"]),
        ("numbers.csv", b"text\n007\n1e3\n", ["007", "1e3"]),
    ],
)
def test_what_files_look_like_in_the_wild(name: str, content: bytes, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "star-1x.txt").write_bytes(b"not this one\n")
    assert texts_of(tmp_path / name) == texts


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet"])
def test_another_column(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"texts{ending}", TEXTS, column="body")
    assert texts_of(path, text_column="body") == TEXTS
    with pytest.raises(DataError) as raised:
        texts_of(path)
    assert raised.value.what == f"{path} has no column 'text'; it has 'n', 'body'."
    assert "--text-column" in raised.value.fix


WRONG_FILES = [
    ("empty.txt", b"", "is empty"),
    ("empty.parquet", b"", "is empty"),
    ("latin1.txt", "ok\nna\xefve\n".encode("latin1"), "is not UTF-8 in line 2 (from byte 3)"),
    ("latin1.csv", "text\nok\nna\xefve\n".encode("latin1"), "is not UTF-8 in line 3 (from byte 8)"),
    (
        "latin1.jsonl",
        '{"text": "ok"}\n{"text": "\xef"}\n'.encode("latin1"),
        "is not UTF-8 in line 2 (from byte 15)",
    ),
    ("latin1.txt.gz", gzip.compress("ok\nna\xefve\n".encode("latin1")), "is not UTF-8 in line 2 (from byte 3)"),
    ("broken.jsonl", b'{"text": "a"}\n{"text": "b"}\n{"text":\n', "is not valid JSON in line 3 (from byte 28)"),
    ("broken.json", b'[{"text": "a"},', "cannot be read as json"),
    ("number.json", b"3", "cannot be read as json"),
    ("spaces.json", b"  ", "has no rows"),
    ("nothing.json", b"[]", "has no rows"),
    ("list.json", b'{"text": ["a", "b"]}', "Row 1 of {path} holds a value of type list"),
    ("null.jsonl", b'{"text": "a"}\n{"text": null}\n', "Row 2 of {path} holds nothing"),
    ("missing.jsonl", b'{"text": "a"}\n{"n": 1}\n', "Row 2 of {path} holds nothing"),
    ("blank.jsonl", b'{"text": "a"}\n{"text": "b"}\n{"text": " "}\n', "Row 3 of {path} holds an empty text"),
    ("number.jsonl", b'{"text": 1}\n', "Row 1 of {path} holds a value of type int"),
    ("mixed.jsonl", b'{"text": "a"}\n{"text": 2}\n', "Row 2 of {path} holds a value of type int"),
    ("blank.csv", b"text,n\na,1\n,2\n", "Row 2 of {path} holds an empty text"),
    ("short.csv", b"n,text\n1,a\n2\n", "Row 2 of {path} holds an empty text"),
    ("long.csv", b"text,n\na,1\nb,2,3\n", "Expected 2 fields in line 3, saw 3"),
    ("unquoted.csv", b"text\nHello, world\nBye, all\n", "Length of header or names does not match"),
    ("open.csv", b'text\na\n"b\n', "EOF inside string"),
    ("no.txt.gz", b"plain\n", "Not a gzipped file"),
    ("cut.txt.gz", gzip.compress(os.urandom(3000).hex().encode())[:-500], "ended before"),
    ("no.parquet", b"PAR1 not really", "cannot be read as parquet"),
]


# Named by their files: what gzip writes holds the time, and the names have to be the same in all workers.
@pytest.mark.parametrize(("name", "content", "said"), WRONG_FILES, ids=[name for name, _, _ in WRONG_FILES])
def test_what_is_wrong_with_a_file(
    name: str, content: bytes, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datasets.logging.set_verbosity_error()
    logging.getLogger("datasets").addHandler(caplog.handler)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        texts_of(path)
    assert said.format(path=path) in raised.value.what
    assert name in raised.value.what
    assert (raised.value.why, raised.value.fix) != ("", "")
    logging.getLogger("datasets").removeHandler(caplog.handler)
    assert not caplog.records  # `datasets` does not say it first, in its own words


def test_null_and_binary_in_parquet(tmp_path: Path) -> None:
    for values, said in (["a", None], "Row 2"), ([b"a"], "type bytes"):
        path = tmp_path / "values.parquet"
        datasets.Dataset.from_dict({"text": values}).to_parquet(str(path))
        with pytest.raises(DataError, match=said):
            texts_of(path)


def test_rows_without_any_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    (tmp_path / "none.csv").write_text("text\n")
    (tmp_path / "none.txt").write_text("\n\n")
    for name in ("none.parquet", "none.csv", "none.txt"):
        with pytest.raises(DataError, match=r"has no rows|has 0 samples"):
            make_rows(open_text(small_config(dataset=str(tmp_path / name))), Letters(), small_config(dataset=name))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.txt", "There is no file"),
        ("folder.txt", "is not a file"),
        ("folder", "is a folder"),
        ("notes.md", ".txt, .jsonl, .json, .csv, .parquet"),
        ("missing.md", ".txt, .jsonl, .json, .csv, .parquet"),
        ("table.parquet.bz2", "none of the endings"),
    ],
)
def test_paths_that_are_no_text_file(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.md").write_text("a")
    with pytest.raises(DataError) as raised:
        texts_of(tmp_path / name)
    assert said in raised.value.what
    assert name in raised.value.what


def test_home_and_plain_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mine.txt", TEXTS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert texts_of("~/mine.txt") == texts_of("mine.txt") == texts_of("./mine.txt") == TEXTS
    for name in ("notes.md", "./notes", "a/b/c", "..", "~/x"):
        with pytest.raises(DataError, match=r"none of the endings|is a folder"):
            texts_of(name)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "secret.txt", TEXTS)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything
        monkeypatch.setattr(Path, "open", partial(_fail, PermissionError(13, "Permission denied")))
    with pytest.raises(DataError, match=r"secret\.txt cannot be read: Permission denied"):
        texts_of(path)


def _fail(error: Exception, *args: object, **kwargs: object) -> None:
    raise error


def test_reading_leaves_no_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    level = datasets.logging.get_verbosity()
    assert texts_of(write(tmp_path / "texts.csv", TEXTS)) == TEXTS
    assert [path.name for path in tmp_path.iterdir()] == ["texts.csv"]
    assert datasets.logging.get_verbosity() == level


@pytest.mark.parametrize("dataset", [None, "my.txt"])
@pytest.mark.parametrize(("option", "value"), [("dataset_config", "en"), ("split", "test")])
def test_options_of_the_hub_elsewhere(dataset: str | None, option: str, value: str) -> None:
    with pytest.raises(ConfigError) as raised:
        open_text(small_config(dataset=dataset, **{option: value}))
    assert f"--{option.replace('_', '-')}" in raised.value.what


def test_builtin() -> None:
    source = open_text(small_config())
    assert source.name == BUILTIN
    assert list(source.texts()) == list(source.texts()) == list(builtin_texts())


# ── hub ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def hub(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setattr(datasets, "load_dataset", answer)


def stream(rows: list[dict[str, Any]], error: Exception | None = None) -> datasets.IterableDataset:
    def generate() -> Iterator[dict[str, Any]]:
        yield from rows
        if error is not None:
            raise error

    return datasets.IterableDataset.from_generator(generate)


def test_hub_is_streamed_without_remote_code(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def answer(path: str, name: str | None = None, *, trust_remote_code: bool = True, **options: Any) -> Any:
        asked.update(options, path=path, name=name, trust_remote_code=trust_remote_code)
        return stream([{"text": ""}, {"text": "a"}, {"text": " "}, {"text": "b"}])

    hub(monkeypatch, answer)
    source = open_text(small_config(dataset="org/name.v2", dataset_config="en", split="test"))
    assert list(source.texts()) == ["a", "b"]
    assert source.name == "org/name.v2 (en, test)"
    assert asked == {
        "path": "org/name.v2", "name": "en", "split": "test", "streaming": True, "trust_remote_code": False
    }  # fmt: skip


def test_hub_rows_that_hold_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, lambda *args, **options: stream([{"text": ""}, {"text": None}]))
    with pytest.raises(DataError, match=r"Row 2 of org/name \(train\) holds nothing"):
        texts_of("org/name")
    with pytest.raises(DataError, match="has no column 'body'; it has 'text'"):
        texts_of("org/name", text_column="body")


def test_other_columns_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pictures(list[dict[str, str]]):
        column_names = ("image", "text")

        def __iter__(self) -> Iterator[dict[str, str]]:
            pytest.fail("decoded")

        def select_columns(self, columns: list[str]) -> list[dict[str, str]]:
            return [dict.fromkeys(columns, "a")]

    hub(monkeypatch, lambda *args, **options: Pictures())
    assert texts_of("org/name") == ["a"]


def http_error(kind: type[Exception], status: int) -> Exception:
    """Make an error of huggingface_hub; releases differ in what its constructor wants."""
    error = kind.__new__(kind, "refused")
    vars(error).update(response=SimpleNamespace(status_code=status), server_message=None, request_id=None)
    return error


def client_error(package: str, said: str) -> Exception:
    """Make an error such as an HTTP client raises; which client is installed depends on the release."""
    return type("Broken", (Exception,), {"__module__": f"{package}.exceptions"})(said)


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


NOT_FOUND = exceptions.DatasetNotFoundError("Dataset 'org/name' doesn't exist on the Hub or cannot be accessed.")
HUB = {
    "missing": (
        lambda: chained(NOT_FOUND, http_error(hub_errors.RepositoryNotFoundError, 401)),
        DataError, "There is no dataset org/name", "HF_TOKEN",
    ),
    "gated": (
        lambda: chained(NOT_FOUND, http_error(hub_errors.GatedRepoError, 403)), DataError, "is gated", "HF_TOKEN",
    ),
    "token": (lambda: http_error(hub_errors.HfHubHTTPError, 401), DataError, "refuses access", "HF_TOKEN"),
    "offline": (
        lambda: ConnectionError("Couldn't reach 'org/name' on the Hub (OfflineModeIsEnabled)"),
        ResourceError, "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE",
    ),
    "server": (lambda: http_error(hub_errors.HfHubHTTPError, 503), ResourceError, "cannot be fetched", "HF_ENDPOINT"),
    "no route": (lambda: ConnectionError("no route"), ResourceError, "no route", "HF_ENDPOINT"),
    "requests": (lambda: client_error("requests", "cut"), ResourceError, "cannot be fetched: cut", "HF_ENDPOINT"),
    "httpx": (lambda: client_error("httpx", "slow"), ResourceError, "cannot be fetched: slow", "HF_ENDPOINT"),
    "wrapped": (lambda: chained(ValueError("odd"), TimeoutError("slow")), ResourceError, "odd", "HF_ENDPOINT"),
    "split": (
        lambda: ValueError("Bad split: tset. Available splits: ['test']"), DataError, "Bad split: tset", "--split",
    ),
    "script": (
        lambda: RuntimeError("Dataset scripts are no longer supported, but found x.py"), DataError, "scripts", "page",
    ),
    "no files": (lambda: exceptions.DataFilesNotFoundError("No data files"), DataError, "No data files", "page"),
}  # fmt: skip


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a row"])
@pytest.mark.parametrize("case", HUB)
def test_what_goes_wrong_at_the_hub(case: str, late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    make, kind, what, fix = HUB[case]

    def answer(*args: object, **options: object) -> Any:
        if late:
            return stream([{"text": "a"}], make())
        raise make()

    hub(monkeypatch, answer)
    with pytest.raises(GacheckError) as raised:
        texts_of("org/name")
    assert type(raised.value) is kind
    assert what in raised.value.what
    assert fix in raised.value.fix


def test_the_real_hub_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ResourceError, match="HF_HUB_OFFLINE is set"):
        texts_of("gacheck/no-such-dataset")


@pytest.mark.parametrize("name", ["text", "csv", "parquet", "pandas", "imagefolder"])
def test_readers_of_datasets_are_no_datasets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "bystander.txt", TEXTS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"There is no dataset {name}"):
        texts_of(name)


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sample_is_a_row() -> None:
    texts = ["ab", "", "abcdefghij", "abcdefg", "abcdefgh", *["cd"] * 20]
    rows = rows_of(texts, max_length=8)
    # The last token of a row that is cut is the text's; one that fits is ended.
    assert tokens(rows)[:4] == [[0, 1, EOS], list(range(8)), [*range(7), EOS], list(range(8))]
    assert tokens(rows)[4:] == [[2, 3, EOS]] * 13
    assert (len(rows.train), len(rows.heldout)) == (1, NUM_HELDOUT_ROWS)
    assert (rows.facts.source, rows.facts.min_length, rows.facts.max_length) == ("my.txt", 3, 8)
    for row in rows.train:
        assert row["labels"] == row["input_ids"]
        assert row["attention_mask"] == [1] * len(row["input_ids"])


def test_a_single_token_is_left_out_and_said_where_rows_are_short() -> None:
    rows = rows_of(["a", "bc", "d", *["ef"] * 16], Letters(eos_token_id=None))
    assert tokens(rows) == [[1, 2], *[[4, 5]] * 16]
    with pytest.raises(DataError, match=r"my\.txt has 16 samples, besides 2 of a single token") as raised:
        rows_of(["a", *["bc"] * 16, "d"], Letters(eos_token_id=None))
    assert "needs 17 rows" in raised.value.what


def test_packing_by_hand() -> None:
    # 17 rows of 8 need 136 tokens: 45 samples of 3 and one token of the 46th, whose rest is dropped.
    tokenizer = Letters()
    rows = rows_of(["ab"] * 46, tokenizer, packing=True, max_length=8)
    joined = [0, 1, EOS] * 45 + [0]
    assert tokens(rows) == [joined[start : start + 8] for start in range(0, 136, 8)]
    assert (rows.facts.min_length, rows.facts.max_length, rows.facts.num_rows) == (8, 8, 1)
    assert tokenizer.seen == ["ab"] * 46
    with pytest.raises(DataError, match=r"my\.txt has 135 tokens; 17 rows need 136") as raised:
        rows_of(["ab"] * 45, packing=True, max_length=8)
    assert "17 rows are the least" in raised.value.fix
    with pytest.raises(DataError) as raised:
        rows_of(["ab"] * 91, packing=True, max_length=32)
    assert raised.value.fix.startswith("write  --max-length 16,")
    rows_of(["ab"] * 91, packing=True, max_length=16)


def test_packing_without_an_end() -> None:
    assert tokens(rows_of(["abc"] * 46, Letters(None), packing=True, max_length=8))[0] == [0, 1, 2, 0, 1, 2, 0, 1]


def test_packing_of_the_builtin_text() -> None:
    config = small_config(packing=True, max_length=32)
    rows = make_rows(open_text(config), stand_in_tokenizer(), config)
    assert {len(ids) for ids in tokens(rows)} == {32}
    assert rows.facts.source == BUILTIN


def test_too_few_samples() -> None:
    with pytest.raises(DataError) as raised:
        rows_of(["ab"] * 16)
    assert raised.value.what == "my.txt has 16 samples; the plan needs 17 rows, one sample each."
    assert "17 rows are the least" in raised.value.fix


@pytest.mark.parametrize("options", [{}, {"per_device_train_batch_size": 2}, {"gradient_accumulation_steps": (1, 3)}])
@pytest.mark.parametrize("num", [20, 25, 40, 60])
def test_the_plan_that_is_advised_works(options: dict[str, object], num: int) -> None:
    given: dict[str, object] = {"gradient_accumulation_steps": (1, 4), "max_steps": 8, "dataset": "my.txt", **options}
    given["effective_batch_size"] = None
    source = TextSource("my.txt", lambda: iter(["ab"] * num))
    with pytest.raises(DataError) as raised:
        make_rows(source, Letters(), small_config(**given))
    advised = dict(re.findall(r"--([a-z-]+) (\d+)", raised.value.fix))
    if not advised:
        assert num < 20 or ("per_device_train_batch_size" in given and num < 24)
        return
    given |= {name.replace("-", "_"): int(value) for name, value in advised.items()}
    assert make_rows(source, Letters(), small_config(**given)).facts.num_heldout_rows == NUM_HELDOUT_ROWS


@pytest.mark.parametrize(("packing", "needed"), [(False, 17), (True, 51)])
def test_samples_are_read_no_further_than_needed(packing: bool, needed: int) -> None:
    def texts() -> Iterator[str]:
        yield from ["ab"] * needed
        pytest.fail("read on")

    tokenizer = Letters()
    rows_of(texts(), tokenizer, packing=packing, max_length=9)
    assert tokenizer.seen == ["ab"] * needed  # each once


@pytest.mark.parametrize("packing", [False, True])
def test_rows_do_not_change(packing: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "texts.jsonl", TEXTS * 20)
    config = small_config(dataset=str(path), packing=packing, max_length=16)
    first, second = (make_rows(open_text(config), stand_in_tokenizer(), config) for _ in range(2))
    assert tokens(first) == tokens(second)
    assert first.facts == second.facts
