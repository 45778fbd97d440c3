"""One headless Chromium for all tests, and the pages that it opens."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gacheck.reporters import reporters
from gacheck.reporters.reporter import PAGE
from gacheck.words.reading import read_record
from tests.page.browser import chromium
from tests.page.pages import PAGES, SURVEY_PAGES
from tests.page.tab import Tab


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the source of axe-core, as `prepare.sh` put it into the cache."""
    named = re.search(r"^AXE=(\S+)$", (Path(__file__).parent / "prepare.sh").read_text(encoding="utf-8"), re.MULTILINE)
    assert named is not None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (cache / "gacheck" / named[1] / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all pages."""
    folder = tmp_path_factory.mktemp("pages")
    for name, record in {**PAGES, **SURVEY_PAGES}.items():
        (folder / f"{name}.html").write_bytes(reporters(record.kind)["html"].render(read_record(record), PAGE))
    return folder


@pytest.fixture(params=[*PAGES, *SURVEY_PAGES])
def tab(request: pytest.FixtureRequest, browser: Any, folder: Path) -> Tab:
    """Open each page in turn."""
    return Tab.opened(browser, folder / f"{request.param}.html")
