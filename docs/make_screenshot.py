"""Makes docs/examples/page.png: the top of the HTML page of a run, as a browser shows it.

The run is that of `make demo`: a fault of the newest release.
"""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[1]
TARGET = CHECKOUT / "docs" / "examples" / "page.png"
WIDTH = 1280
LAST = "return document.querySelector('.pictures').getBoundingClientRect().bottom"
"""Down to where it goes, from the top."""

SURROUNDINGS = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def make_page(folder: Path) -> Path:
    """Measure the model, and make the page of it."""
    page = folder / "page.html"
    for arguments in (
        ("run", "--model", "tiny:xlnet", "--out", "run", "--exit-zero"),
        ("report", "run", "--format", "html", "-o", page.name),
    ):
        command = [sys.executable, "-m", "gacheck", *arguments]
        environment = {**os.environ, **SURROUNDINGS, "PYTHONPATH": str(CHECKOUT)}
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment)
    return page


def photograph(page: Path) -> Image.Image:
    """Return what a browser shows of a page."""
    sys.path.insert(0, str(CHECKOUT))
    from tests.page.browser import chromium
    from tests.page.tab import Tab

    with chromium() as driver:
        tab = Tab.opened(driver, page)
        tab.show(width=WIDTH)
        tab.show(width=WIDTH, height=round(tab.run(LAST)) + 20)
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"])))


def main() -> None:
    """Make the picture anew."""
    with tempfile.TemporaryDirectory() as folder:
        picture = photograph(make_page(Path(folder)))
    # A README is to load quickly; few pixels have a colour, and those matter.
    picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        TARGET, optimize=True
    )
    print(f"{TARGET.relative_to(CHECKOUT)}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
