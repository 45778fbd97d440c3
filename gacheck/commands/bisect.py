"""`gacheck bisect`: which release broke a model, and which one fixed it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import typer

from gacheck.commands.measuring import check_packages, one_model
from gacheck.commands.options import options_of
from gacheck.commands.output import require_stdout, view_of, write_err, write_out
from gacheck.commands.smoke import LEFT_OUT
from gacheck.config import STAND_IN_PREFIX, RunConfig, load_config
from gacheck.core.history import History, Tried, numbers_of
from gacheck.errors import ConfigError, ModelError, ResourceError
from gacheck.record.command import SMOKE, smoke_command
from gacheck.releases import index
from gacheck.releases.probing import probe
from gacheck.releases.search import search
from gacheck.reporters.history import render_history, render_history_json
from gacheck.reporters.text import ascii_only, clean
from gacheck.words.history import absence

INCONCLUSIVE = 3

# An installation waits for the network more than it computes. Of a large model, two beside each other may be more than
# the memory holds.
JOBS = 3


@options_of(name for name in RunConfig.model_fields if name not in LEFT_OUT | {"strict", "exit_zero"})
def bisect(
    named: str | None = typer.Argument(None, metavar="MODEL", help="the model, as --model names it"),
    config: Path | None = typer.Option(None, "--config", metavar="FILE", help="YAML file with any of these options"),
    oldest: str | None = typer.Option(
        None, "--from", metavar="RELEASE", help="try no older release than this (default: 4.46)"
    ),
    latest: str = typer.Option(index.NEWEST, "--to", metavar="RELEASE", help="try no newer release than this"),
    **flags: Any,
) -> None:
    """Find the release of transformers that broke a model, and the one that fixed it.

    Example: gacheck bisect tiny:gemma3

    Runs gacheck smoke under some releases, each installed once in the cache (see gacheck releases), and then closer and
    closer to where the verdict changes. Bad is a verdict that fails. What was not tried is said.
    Exit codes: 0 answered, 3 not every change could be pinned down, 4 could not run.
    """
    flags["model"] = one_model(named, flags["model"], "bisect")
    settings = load_config(config, {**flags, **SMOKE})
    require_stdout()
    check_packages()
    releases = _between(oldest, latest)
    started = time.monotonic()
    num_jobs = JOBS if settings.model.startswith(STAND_IN_PREFIX) else 1
    _, *words = smoke_command(settings.experiment())
    history = search(releases, lambda release: _told(probe(release, words, _say)), num_jobs)
    _check(history)
    seconds = time.monotonic() - started
    if settings.json_output:
        write_out(render_history_json(history, settings.model, seconds).encode())
    else:
        write_out(render_history(history, settings.model, seconds, view_of(sys.stdout)))
    raise typer.Exit(0 if history.is_certain else INCONCLUSIVE)


def _between(oldest: str | None, latest: str) -> list[str]:
    """Return the releases of the range, oldest first."""
    first = None if oldest is None else index.resolve(oldest)
    last = None if latest == index.NEWEST else index.resolve(latest)
    known = index.available()
    for release in (first, last):
        if release is not None and release not in known:
            raise index.not_listed(release, known)
    low, high = numbers_of(first or known[0]), numbers_of(last or known[-1])
    found = [each for each in known if low <= numbers_of(each) <= high]
    if len(found) < 2:
        raise ConfigError(
            f"There are not two releases from {first or known[0]} to {last or known[-1]}.",
            why="A change lies between two.",
            fix="name an older release with --from than with --to",
        )
    return found


def _say(text: str) -> None:
    write_err(f"{ascii_only(clean(text))}\n")


def _told(tried: Tried) -> Tried:
    what = tried.code or f"{tried.state}: {tried.reason}"
    _say(f"transformers {tried.release}: {what}")
    return tried


def _check(history: History) -> None:
    """Refuse a history without any verdict.

    Raises:
        ModelError: No release can make the model.
        ResourceError: None could be tried.
    """
    if any(each.code for each in history.tried):
        return
    if reason := absence(history):
        raise ModelError(
            reason,
            why=f"No release that was tried, {history.releases[0]} to {history.releases[-1]}, can make the model.",
            fix="check the name, and the options;  gacheck models  lists the types of the installed release",
        )
    raise ResourceError(
        "No release could be tried.",
        why=history.tried[-1].reason,
        fix="fix that and try again; what was installed is kept",
    )
