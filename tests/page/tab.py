"""A page in the browser: what it looks like at a width, in a scheme, on paper; what it asked for and complained of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Scheme = Literal["light", "dark"]


@dataclass(frozen=True)
class Tab:
    """One page, opened."""

    driver: Any
    path: Path

    @classmethod
    def opened(cls, driver: Any, path: Path) -> Tab:
        """Open a page; what was logged of earlier ones is forgotten."""
        driver.get("about:blank")
        for log in ("browser", "performance"):
            driver.get_log(log)
        driver.execute_cdp_cmd("Network.enable", {})
        tab = cls(driver, path)
        tab.show()
        driver.get(path.as_uri())
        return tab

    def show(self, *, width: int = 1440, height: int = 900, scheme: Scheme = "light", on_paper: bool = False) -> None:
        """Look at it at a width, in a scheme, or as it would be printed."""
        # A window is at least 500 pixels wide; a phone is not.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        media = {"media": "print" if on_paper else "screen", "features": features}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        # Which picture it takes is decided anew before the next frame.
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script of ours in the page; its policy forbids only the page's own."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Return what the console said."""
        return [f"{each['level']}: {each['message']}" for each in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses of all that was asked for since the page was opened."""
        events = [json.loads(each["message"])["message"] for each in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def background(self) -> tuple[int, ...]:
        """Return red, green and blue of the page's background."""
        color = self.run("return getComputedStyle(document.body).backgroundColor")
        return tuple(int(part) for part in color[color.index("(") + 1 : -1].split(",")[:3])

    def violations(self, axe: str) -> list[str]:
        """Return what axe-core finds, each rule with the elements."""
        self.run(axe)
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "const failed = e => done([{id: String(e), nodes: []}]);"
            "axe.run({resultTypes: ['violations']}).then(r => done(r.violations), failed);"
        )
        return [f"{each['id']}: {[node['html'][:120] for node in each['nodes']]}" for each in found]
