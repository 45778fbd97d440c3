"""`gacheck releases`: the other releases of transformers that are kept in the cache."""

from __future__ import annotations

import time

import typer

from gacheck.commands.output import require_stdout, write_out
from gacheck.errors import ConfigError, ResourceError
from gacheck.releases import environments, index
from gacheck.releases.cache import Cached, cache_folder, cached, is_current, kept

ALL = "all"
MEGABYTE = 1e6


def releases(
    available: bool = typer.Option(False, "--available", help="list what the index of packages has instead"),
    remove: str | None = typer.Option(None, "--remove", metavar="RELEASE", help="remove this one, or all"),
) -> None:
    """List the other releases of transformers that are installed in the cache, or remove them.

    Example: gacheck releases --remove 4.50.3

    gacheck bisect installs them, each over what is installed here: torch is shared.
    """
    require_stdout()
    if remove is not None and available:
        raise ConfigError(
            "--remove and --available are given together.",
            why="One removes from the cache, the other lists the index.",
            fix="leave one out",
        )
    if available:
        here = {each.release for each in cached() if is_current(each.folder)}
        write_out("".join(f"{each}{'  in the cache' if each in here else ''}\n" for each in index.available()))
    elif remove is not None:
        _remove(remove)
    else:
        _list()


def _list() -> None:
    found = cached()
    if not found:
        write_out(f"no other release is installed in {cache_folder()}\n")
        return
    sizes = [each.num_bytes() for each in found]
    write_out("".join(_line(each, size) for each, size in zip(found, sizes, strict=True)))
    write_out(f"{len(found)} in {cache_folder()}, {sum(sizes) / MEGABYTE:.0f} MB\n")


def _line(each: Cached, num_bytes: int) -> str:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.made))
    others = "" if is_current(each.folder) else "  for another Python environment"
    return f"{each.release:<9}{num_bytes / MEGABYTE:>6.0f} MB  {made}{others}\n"


def _remove(release: str) -> None:
    """Remove one release, or all.

    Raises:
        ConfigError: It is not there.
        ResourceError: It cannot be removed.
    """
    there = kept()
    if release != ALL and release not in there:
        raise ConfigError(
            f"transformers {release} is not in {cache_folder()}.",
            why="There is nothing to remove.",
            fix=f"name one of  {', '.join(there)}" if there else "nothing is to be done: no release is there",
        )
    for each in there if release == ALL else [release]:
        try:
            environments.remove(each)
        except OSError as error:
            raise ResourceError(
                f"transformers {each} could not be removed: {error.strerror or error}.",
                why=f"It lies in {cache_folder()}.",
                fix="see who owns that folder",
            ) from error
        write_out(f"removed transformers {each}\n")
