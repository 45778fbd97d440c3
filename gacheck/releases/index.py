"""Which releases of transformers there are, asked of the index that pip is configured for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from gacheck.core.history import is_release, numbers_of
from gacheck.errors import ConfigError, ResourceError, UsageError
from gacheck.releases.cache import usable
from gacheck.releases.installer import InstallationError, pip, run

OLDEST = (4, 46)
WHY_NOT_OLDER = "Older Trainers have no model_accepts_loss_kwargs; they always take the mean of means."
NEWEST = "newest"


def resolve(release: str) -> str:
    """Return the release that is meant: `newest` is the newest final one; any other is taken as it is written.

    Only for `newest` the index is asked.

    Raises:
        ConfigError: It is no final release, or too old.
        ResourceError: The index cannot be reached.
    """
    wanted = release.strip()
    if wanted == NEWEST:
        return available()[-1]
    if not is_release(wanted):
        raise ConfigError(
            f"{release!r} is no release of transformers.",
            why="Final releases alone are tried, each by its number.",
            fix=f"write a release such as 4.57.6, or {NEWEST}",
        )
    if numbers_of(wanted)[:2] < OLDEST:
        raise ConfigError(
            f"transformers {wanted}: gacheck needs {'.'.join(map(str, OLDEST))} or newer.",
            why=WHY_NOT_OLDER,
            fix="name a newer release;  gacheck releases --available  lists them",
        )
    return wanted


def available() -> list[str]:
    """Return the final releases that the index has and gacheck takes, oldest first.

    Raises:
        ResourceError: The index cannot be reached.
    """
    # The one command of pip that lists versions; uv has none.
    options = ["--disable-pip-version-check", "--no-input"]
    try:
        printed = run([*pip(), "index", "versions", "transformers", *options])
    except InstallationError as error:
        raise unreachable(str(error)) from error
    listed = next((line for line in printed.splitlines() if line.startswith("Available versions:")), "")
    found = {each.strip() for each in listed.partition(":")[2].split(",")}
    taken = sorted((each for each in found if is_release(each)), key=numbers_of)
    taken = [each for each in taken if numbers_of(each)[:2] >= OLDEST]
    if not taken:
        raise unreachable("it lists no release that gacheck takes")
    return taken


def unreachable(reason: str) -> ResourceError:
    """Make the error of an index that does not answer; what is here already works without one."""
    return ResourceError(
        "The index of packages has no releases of transformers, or could not be reached.",
        why=f"pip says: {reason}.",
        fix=f"connect to the network, or set PIP_INDEX_URL to an index that can be reached; {usable()}",
    )


def unknown(release: str) -> UsageError | None:
    """Return the error of a release that the index does not have; None if it has it or cannot be asked."""
    try:
        known = available()
    except ResourceError:
        return None
    return None if release in known else not_listed(release, known)


def not_listed(release: str, known: Sequence[str]) -> UsageError:
    """Make the error of a release that is not among those of the index."""
    near = difflib.get_close_matches(release, known, n=3)
    return ConfigError(
        f"There is no transformers {release}.",
        why="The index of packages does not list it.",
        fix=f"did you mean {' or '.join(near)}?" if near else "gacheck releases --available  lists them",
    )
