"""The page as a browser sees it: quiet, alone, legible at every width, in both schemes and on paper."""

from __future__ import annotations

import pytest

from tests.page.pages import HOSTILE, SCRIPT
from tests.page.tab import Scheme, Tab

pytestmark = pytest.mark.page

WIDTHS = (360, 768, 1440)
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

# A picture that could not be drawn has no width.
PICTURES = "return [...document.images].map(i => i.complete && i.naturalWidth > 0 ? i.currentSrc.slice(0, 22) : i.alt)"
OVERFLOW = """
const root = document.scrollingElement;
const wide = [...document.querySelectorAll('body *')].filter(e =>
    !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 0.5);
return [root.scrollWidth - innerWidth, wide.map(e => e.outerHTML.slice(0, 100))];
"""
SCROLLING = """
const scrolls = e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX == 'auto';
return [...document.querySelectorAll('*')].filter(scrolls).map(e =>
    e.tabIndex == 0 && document.getElementById(e.getAttribute('aria-labelledby'))?.textContent);
"""


def test_it_is_quiet_alone_and_legible(tab: Tab, axe: str) -> None:
    found = {}
    for scheme in SCHEMES:
        for width in WIDTHS:
            tab.show(width=width, scheme=scheme)
            beyond, wide = tab.run(OVERFLOW)
            drawn = set(tab.run(PICTURES))
            found[scheme, width] = (max(0, beyond), wide, drawn - {"data:image/svg+xml;bas"}, tab.violations(axe))

    assert {place: what for place, what in found.items() if any(what)} == {}
    asked = tab.requests()
    assert tab.path.as_uri() in asked
    assert [url for url in asked if not url.startswith("data:") and url != tab.path.as_uri()] == []
    assert tab.complaints() == []


def test_dark_pages_are_dark_and_paper_is_white(tab: Tab) -> None:
    seen = {}
    for scheme in SCHEMES:
        for on_paper in (False, True):
            tab.show(scheme=scheme, on_paper=on_paper)
            seen[scheme, on_paper] = (
                tab.background(),
                frozenset(tab.run("return [...document.images].map(i => i.currentSrc)")),
            )

    light, dark = seen["light", False], seen["dark", False]
    assert light[0] == (255, 255, 255)
    assert max(dark[0]) < 40
    assert seen["light", True] == seen["dark", True] == light
    assert not light[1] or light[1].isdisjoint(dark[1])


@pytest.mark.parametrize("tab", ["hostile", "hostile survey"], indirect=True)
def test_hostile_names_are_text_and_no_script_ran(tab: Tab) -> None:
    text = tab.run("return document.documentElement.textContent")

    assert SCRIPT in text
    assert "{{ 7*7 }}" in HOSTILE
    assert "{{ 7*7 }}" in text
    assert tab.run("return document.title").endswith("· gacheck")
    assert tab.run("return document.scripts.length + document.querySelectorAll('img[src=x], [onload]').length") == 0
    assert not {"\x1b", "\u202e"} & set(text)


@pytest.mark.parametrize("tab", ["scaled"], indirect=True)
def test_a_keyboard_reaches_every_region_that_scrolls(tab: Tab) -> None:
    tab.show(width=360)
    reached = tab.run(SCROLLING)

    assert len(reached) >= 2
    assert all(reached), reached


@pytest.mark.parametrize("tab", ["survey of releases"], indirect=True)
def test_a_tile_leads_to_the_row_of_its_class(tab: Tab) -> None:
    reached = tab.run(
        "document.querySelector('.map a[title^=LlamaForCausalLM]').click();"
        "return document.querySelector('tbody:target').innerText"
    )

    assert reached.startswith("LlamaForCausalLM")


# What has to be found, so that finding nothing says something.


@pytest.mark.parametrize("tab", ["scaled"], indirect=True)
def test_what_is_wrong_is_found(tab: Tab, axe: str) -> None:
    tab.show(width=360)
    tab.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"https://example.invalid/x.png\">"
        '<p class="wide">x</p><script>document.title=1</script>\');'
        "document.querySelector('.wide').setAttribute('style', 'width: 2000px');"
        "document.querySelector('.wide').style.width = '2000px'"
    )

    beyond, wide = tab.run(OVERFLOW)
    assert beyond > 0
    assert wide
    assert any(each.startswith("image-alt:") for each in tab.violations(axe))
    assert any("Content Security Policy" in each for each in tab.complaints())
