"""Where text comes from: Python's own documentation, a local file, or a dataset on the hub.

Files and hub alike are read by `datasets`, streaming, so that of a large corpus only the beginning is touched. Its
readers guess types and take NA for nothing; where a guess would change the text unseen, they are told not to.
"""

from __future__ import annotations

import functools
import glob
import inspect
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from gacheck.config import ExperimentConfig
from gacheck.errors import ConfigError, DataError, GacheckError
from gacheck.measure.text.chats import COLUMNS, Chat, read_chat
from gacheck.measure.text.errors import explain_file, explain_hub, no_column, no_dataset, no_file, no_text, similar_file

BUILTIN = "pydoc_data.topics"
READERS = {".txt": "text", ".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
# `datasets` unpacks these itself; parquet is compressed inside.
READERS |= {f"{ending}.gz": reader for ending, reader in READERS.items() if reader != "parquet"}
# Names that `load_dataset` takes for its own readers, which would then read whatever lies in the working directory.
RESERVED = frozenset(getattr(datasets.packaged_modules, "_PACKAGED_DATASETS_MODULES", READERS.values()))
PARQUET_BATCH = 1000
TEXT = "text"  # the column that nobody named

Explain = Callable[[Exception], GacheckError]


@dataclass(frozen=True)
class TextSource:
    """Text to train on.

    Attributes:
        name: For the record and for messages.
        texts: Start reading from the beginning, a text or a chat for every sample; raises DataError or ResourceError
            where that cannot be read.
    """

    name: str
    texts: Callable[[], Iterator[str | Chat]]


def builtin_texts() -> Iterator[str]:
    """Yield the English of Python's own language reference, which every installation has."""
    from pydoc_data.topics import topics

    # Not `yield from`: CPython 3.11 never frees a generator that is left at one.
    for name in sorted(topics):
        yield topics[name]


def open_text(config: ExperimentConfig) -> TextSource:
    """Open what `config.dataset` names and look at its first row.

    Raises:
        ConfigError: An option was given that this kind of source has no use for.
        DataError: There is no such text, no access to it, or it cannot be read.
        ResourceError: The hub cannot be reached.
    """
    if config.dataset is None:
        _refuse_hub_options(config)
        if config.text_column != "text":
            raise ConfigError(
                "--text-column goes with --dataset.",
                why="The built-in text has no columns; it would silently change nothing.",
                fix="name the file or the dataset with --dataset, or leave --text-column out",
            )
        return TextSource(BUILTIN, builtin_texts)
    path = Path(config.dataset).expanduser()
    reader = next((reader for ending, reader in READERS.items() if path.name.lower().endswith(ending)), None)
    if reader is not None:
        _refuse_hub_options(config)
        return _open_file(path, reader, config.text_column)
    if _is_path(config.dataset, path):
        raise _no_ending(path)
    return _open_hub(config.dataset, config)


def _refuse_hub_options(config: ExperimentConfig) -> None:
    given = {"--dataset-config": config.dataset_config is not None, "--split": config.split != "train"}
    for name in (name for name, is_given in given.items() if is_given):
        raise ConfigError(
            f"{name} goes with a dataset on the hub, not with {config.dataset or 'the built-in text'}.",
            why="It would silently change nothing.",
            fix=f"leave {name} out, or name a dataset on the hub with --dataset",
        )


def _is_path(name: str, path: Path) -> bool:
    """Whether a name without a known ending means a place on the disk; an id has at most one slash."""
    spelled = name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name
    return spelled or path.exists() or ("/" not in name and path.suffix != "")


def _no_ending(path: Path) -> DataError:
    endings = ", ".join(READERS)
    if path.is_dir():
        return DataError(
            f"{path} is a folder.",
            why=f"The text is read from one file, ending in {endings}.",
            fix="name a file in it; if a dataset on the hub of that name is meant, start gacheck elsewhere",
        )
    return DataError(
        f"{path} has none of the endings {endings}.",
        why="The ending says how a file is read.",
        fix=similar_file(path)
        or "rename or convert the file; a dataset on the hub is named  name  or  organisation/name",
    )


def _open_file(path: Path, reader: str, column: str) -> TextSource:
    _check_readable(path)
    explain = functools.partial(explain_file, path, reader)
    # The lock file that `datasets` leaves even when streaming goes with the folder.
    with tempfile.TemporaryDirectory() as scratch, _read_failures_as(explain):
        rows = datasets.load_dataset(
            reader,
            data_files=glob.escape(str(path.absolute())),
            split="train",
            streaming=True,
            cache_dir=scratch,
            **_reader_options(reader, column),
        )
    # In a text file blank lines separate; in a table an empty text is a mistake.
    return _checked(str(path), rows, column, explain, skip_empty=reader == "text")


def _reader_options(reader: str, column: str) -> dict[str, Any]:
    """Keep a reader from changing the text: a byte-order mark, `NA`, `007`, or a comma that was not quoted."""
    options: dict[str, dict[str, Any]] = {
        "text": {"encoding": "utf-8-sig"},
        "csv": {"keep_default_na": False, "index_col": False, "converters": {column: str}},
        # By default a whole row group at once: a million rows where a hundred are needed.
        "parquet": {"batch_size": PARQUET_BATCH},
    }
    return options.get(reader, {})


def _check_readable(path: Path) -> None:
    fix = "check --dataset: the path and its permissions"
    if not path.exists():
        raise no_file(path)
    if not path.is_file():
        raise DataError(f"{path} is not a file.", why="The text is read from one file.", fix=fix)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", why="It holds the text.", fix=fix) from error
    if empty:
        raise DataError(f"{path} is empty.", why="There is nothing to train on.", fix="name a file with text in it")


def _open_hub(name: str, config: ExperimentConfig) -> TextSource:
    if name in RESERVED:
        raise no_dataset(name)
    explain = functools.partial(explain_hub, name)
    # Older releases may run a script of the repository where an environment variable says so; newer ones never do.
    refusal = {"trust_remote_code": False} if _takes_remote_code() else {}
    with _read_failures_as(explain):
        rows = datasets.load_dataset(name, config.dataset_config, split=config.split, streaming=True, **refusal)
    label = f"{name} ({', '.join(part for part in (config.dataset_config, config.split) if part)})"
    # Nobody can fix a dataset on the hub, and some of the best known hold empty rows.
    return _checked(label, rows, config.text_column, explain, skip_empty=True)


def _takes_remote_code() -> bool:
    return "trust_remote_code" in inspect.signature(datasets.load_dataset).parameters


@contextmanager
def _read_failures_as(explain: Explain) -> Iterator[None]:
    """Turn whatever `datasets` raises into an error for people, and keep its log from saying it first."""
    level = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # pandas drops the fields of a line that the header has no names for, and merely warns.
            warnings.filterwarnings("error", message="Length of header or names")
            yield
    except Exception as error:  # the errors of pyarrow, pandas, fsspec and HTTP clients come through as they are
        raise explain(error) from error
    finally:
        datasets.logging.set_verbosity(level)


def _checked(name: str, rows: Any, column: str, explain: Explain, *, skip_empty: bool) -> TextSource:
    """Check the column and leave the others alone: images and sounds need not be decoded."""
    with _read_failures_as(explain):
        columns = rows.column_names or list(next(iter(rows), {}))
    if not columns:
        raise DataError(f"{name} has no rows.", why="There is nothing to train on.", fix="choose other text")
    if column not in columns:
        with _read_failures_as(explain):
            first: dict[str, Any] = next(iter(rows), {})
        chats = [each for each in COLUMNS if each in columns and read_chat(first.get(each)) is not None]
        if column != TEXT or not chats:
            raise no_column(name, column, columns, first)
        column = chats[0]
        name = f"{name} ({column})"
    selected = rows.select_columns([column])

    def texts() -> Iterator[str | Chat]:
        iterator, number = iter(selected), 0
        while True:
            with _read_failures_as(explain):
                row = next(iterator, None)
            if row is None:
                return
            number += 1
            text = row[column]
            chat = read_chat(text)
            if chat is not None:
                yield chat
            elif isinstance(text, str) and text.strip():
                yield text
            elif not (skip_empty and isinstance(text, str)):
                raise no_text(name, number, column, text)

    return TextSource(name, texts)
