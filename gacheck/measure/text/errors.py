"""What went wrong with a file or with a dataset on the hub, in words for people."""

from __future__ import annotations

import difflib
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import datasets
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import errors

from gacheck.errors import DataError, GacheckError, ResourceError, causes, one_line

HTTP_CLIENTS = frozenset({"httpx", "httpcore", "requests", "urllib3", "aiohttp"})


def explain_file(path: Path, reader: str, error: Exception) -> GacheckError:
    """Say what is wrong with a file, and in which line where that is cheap to find."""
    if isinstance(error, UnicodeError) and reader != "parquet":
        return DataError(
            f"{path} is not UTF-8{_first_bad_line(path, bytes.decode)}.",
            why="Text is read as UTF-8; guessing another encoding would change it.",
            fix=f"convert it from the encoding that it has:  iconv -f latin1 -t utf-8 {path.name}",
        )
    lines = path.name.lower().removesuffix(".gz").endswith(".jsonl")
    place = _first_bad_line(path, json.loads) if lines else ""
    if place:
        return DataError(
            f"{path} is not valid JSON{place}.",
            why="In a .jsonl file every line is one JSON object.",
            fix="fix or delete that line",
        )
    return DataError(
        f"{path} cannot be read as {reader}: {one_line(error)}",
        why=f"The ending says so; it was tried with the {reader} reader of datasets {datasets.__version__}.",
        fix="fix the file, or rename it if its ending is wrong",
    )


def _first_bad_line(path: Path, parse: Callable[[bytes], object]) -> str:
    """Return ` in line N (from byte B)` of the first line that `parse` refuses, or nothing."""
    start = 0
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    if line.strip():
                        parse(line)
                except ValueError:
                    return f" in line {number} (from byte {start})"
                start += len(line)
    except (OSError, EOFError):
        pass  # a damaged archive: the first error says so
    return ""


def explain_hub(name: str, error: Exception) -> GacheckError:
    """Say what a failure at the hub means; the most telling error of the chain decides."""
    chain = list(causes(error))
    if any(isinstance(each, errors.GatedRepoError) for each in chain):
        return DataError(
            f"The dataset {name} is gated.",
            why="Its owner gives access on request, to a known account.",
            fix="ask for access on its page, then set HF_TOKEN to a token of that account",
        )
    if any(isinstance(each, (DatasetNotFoundError, errors.RepositoryNotFoundError)) for each in chain):
        return no_dataset(name)
    # `datasets` has such a class too, and of some it hands on nothing but the name.
    if any("OfflineModeIsEnabled" in repr(each) for each in chain):
        return ResourceError(
            f"The dataset {name} cannot be had: HF_HUB_OFFLINE is set.",
            why="A dataset on the hub is streamed, not kept.",
            fix="unset HF_HUB_OFFLINE, or name a local file with --dataset",
        )
    status = next((status for status in map(_http_status, chain) if status is not None), None)
    if status in (401, 403):
        return DataError(
            f"The hub refuses access to the dataset {name} (HTTP {status}).",
            why="The token, if there is one, does not cover it.",
            fix="set HF_TOKEN to a valid token with read access",
        )
    if status != 404 and (status is not None or any(map(_is_network, chain))):
        return ResourceError(
            f"The dataset {name} cannot be fetched: {one_line(error)}",
            why="The hub could not be reached, or the connection broke off.",
            fix="try again; behind a mirror set HF_ENDPOINT, or name a local file with --dataset",
        )
    return DataError(
        f"The dataset {name} cannot be read: {one_line(error)}",
        why="It is streamed as it lies on the hub, and no code from there is run.",
        fix="see its page for what there is to choose with --dataset-config and --split, or name a local file",
    )


def no_dataset(name: str) -> DataError:
    """Make the error of a name that is no dataset."""
    return DataError(
        f"There is no dataset {name} on the hub, or no access to it.",
        why="The name has no ending of a text file, so it was looked up as a dataset id.",
        fix="check the spelling; for a private dataset set HF_TOKEN",
    )


def similar_file(path: Path) -> str | None:
    """Return the advice to name a file that is there instead of one that is not; None where none is like it."""
    if path.exists():
        return None
    try:
        beside = [each.name for each in path.parent.iterdir() if each.is_file()]
    except OSError:
        return None
    close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.8)
    return f"did you mean  --dataset {path.parent / close[0]}?" if close else None


def no_file(path: Path) -> DataError:
    """Make the error of a file that is not there."""
    return DataError(
        f"There is no file {path}.",
        why="Its ending says that --dataset names a file.",
        fix=similar_file(path) or "check the path after --dataset",
    )


def no_column(label: str, column: str, columns: Sequence[str], first: Mapping[str, object]) -> DataError:
    """Make the error of a column that is not there; the fix names one that holds text."""
    with_text = [each for each in columns if isinstance(first.get(each), str)]
    close = difflib.get_close_matches(column, [*with_text, *columns], n=1)
    longest = sorted(with_text, key=lambda each: -len(str(first[each])))
    found = next(iter(close or longest), None)
    return DataError(
        f"{label} has no column {column!r}; it has {', '.join(map(repr, columns))}.",
        why="One column holds the text.",
        fix=f"write  --text-column {found}" if found else "write a file with a column of text",
    )


def _http_status(error: BaseException) -> int | None:
    """Return what the server answered; every HTTP client calls it so."""
    status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _is_network(error: BaseException) -> bool:
    """Recognise the errors of every HTTP client in use by their package: no release has all of them."""
    packages = {each.__module__.partition(".")[0] for each in type(error).__mro__}
    return isinstance(error, (ConnectionError, TimeoutError)) or bool(packages & HTTP_CLIENTS)


def no_text(label: str, number: int, column: str, value: object) -> DataError:
    """Make the error of a row without text; rows are counted from 1."""
    kinds = {"NoneType": "nothing", "str": "an empty text"}
    held = kinds.get(type(value).__name__, f"a value of type {type(value).__name__}, not text,")
    return DataError(
        f"Row {number} of {label} holds {held} in the column {column!r}.",
        why="Every row is a sample to train on.",
        fix="fill or delete the row, or name another column with --text-column",
    )
