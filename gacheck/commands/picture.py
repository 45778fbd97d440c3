"""What a person is told where the picture cannot be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gacheck.errors import ResourceError


@contextmanager
def matplotlib_needed(*, without: str, later: str) -> Iterator[None]:
    """Turn an import that fails within the block into words.

    Args:
        without: What there is although there is no picture.
        later: The command that draws it later.

    Raises:
        ResourceError: matplotlib is missing or broken.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("gacheck"):
            raise
        raise ResourceError(
            f"matplotlib cannot be imported: {error}.",
            why=f"The picture cannot be drawn. {without}",
            fix=f"pip install -U matplotlib, then  {later}",
        ) from error
