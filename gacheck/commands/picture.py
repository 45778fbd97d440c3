"""What a person is told where the picture cannot be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gacheck.errors import ResourceError


@contextmanager
def matplotlib_needed(*, without: str, later: str) -> Iterator[None]:
    """Turn an import that fails within the block into words: matplotlib's, or that of what the page needs besides.

    Args:
        without: What there is although there is no picture.
        later: The command that draws it later.

    Raises:
        ResourceError: matplotlib, or jinja2, is missing or broken.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("gacheck"):
            raise
        package = "jinja2" if (error.name or "").split(".")[0] in ("jinja2", "markupsafe") else "matplotlib"
        made = "page cannot be made" if package == "jinja2" else "picture cannot be drawn"
        raise ResourceError(
            f"{package} cannot be imported: {error}.",
            why=f"The {made}. {without}",
            fix=f"pip install -U {package}, then  {later}",
        ) from error
