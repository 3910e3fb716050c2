"""The content browser in a real one: its layout, its colors, its keyboard, and what may run in it.

Needs Debian's package chromium, which `.ci/run` installs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from reconciler.emulator.clock import stepped_clock
from reconciler.emulator.pages.style import DARK, LIGHT
from reconciler.emulator.server import BackgroundEmulator
from tests.browser.chromium import BEYOND, INJECTED, Chromium
from tests.emulator.conftest import KEY, OPTIONS, ORGANIZATION, PROVIDER, SOURCE, Remote
from tests.emulator.filled import HOSTILE, LONG, MARK, PATH, RTL, fill

pytestmark = [pytest.mark.debian, pytest.mark.slow]

BROWSE = f"/browse/{ORGANIZATION}"
ITEMS = f"{BROWSE}/sources/{SOURCE}"


def _item(uri: str) -> str:
    return f"{ITEMS}/item?uri={quote(uri, safe='')}"


def _identity(name: str, kind: str) -> str:
    return f"{BROWSE}/identity?provider={PROVIDER}&type={kind}&name={quote(name, safe='')}"


PAGES = {
    "overview": "/",
    "overview as": "/?as=user:alice",
    "source": ITEMS,
    "source as": f"{ITEMS}?as=carol@example.com&show=all",
    "source as hostile": f"{ITEMS}?as={quote('user:' + LONG)}&q={quote(LONG)}",
    "html item": _item(PATH),
    "binary item": f"{_item(PATH + '/pay-scale.pdf')}&as=user:bob",
    **{f"hostile item {rank}": _item(uri) for rank, uri in enumerate(HOSTILE)},
    "provider": f"{BROWSE}/providers/{PROVIDER}",
    "identity": _identity("carol", "user"),
    "hostile group": _identity(MARK, "group"),
    "hostile user": _identity(RTL, "user"),
    "fields": f"{BROWSE}/fields",
    "requests": f"{BROWSE}/requests",
    "batch": f"{BROWSE}/requests/28",
    "hostile request": f"{BROWSE}/requests/30",
    "nothing": f"/browse/{quote(LONG)}",
}


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of a filled emulator."""
    with BackgroundEmulator(OPTIONS, stepped_clock()) as emulator:
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=emulator.url, headers=headers, trust_env=False) as client:
            fill(Remote(client, stepped_clock()))
        yield emulator.url


@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_a_screen_sideways(browser: Chromium, site: str, name: str) -> None:
    """At 1280 pixels, at twice that zoom (640), on a telephone (360), and at the 320 that WCAG asks for."""
    browser.open(site + PAGES[name])
    for width in (1280, 640, 360, 320):
        browser.screen(width)
        assert browser.value(BEYOND) == [], f"at {width}"
        assert browser.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["overview", "source", "binary item", "provider", "requests"])
def test_text_of_twice_the_size_fits(browser: Chromium, site: str, name: str) -> None:
    browser.open(site + PAGES[name])
    browser.value("document.documentElement.style.fontSize = '200%'")
    assert browser.value("parseFloat(getComputedStyle(document.body).fontSize)") == 30
    assert browser.value(BEYOND) == []


def test_the_measure_finds_what_overflows(browser: Chromium, site: str) -> None:
    browser.open(site)
    browser.screen(360)
    browser.value("document.querySelector('h1').style.width = '400px'")
    assert len(browser.value(BEYOND)) == 1


def test_the_policy_stops_what_would_be_injected(browser: Chromium, site: str) -> None:
    browser.open(site)
    assert browser.value(INJECTED) == [None, False]

    browser.ask("Page.setBypassCSP", enabled=True)
    browser.open(site)
    assert browser.value(INJECTED) == [1, True], "without the policy it runs, so the test looks at the right thing"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing_and_has_nothing_to_complain_of(browser: Chromium, site: str, name: str) -> None:
    browser.open(site + PAGES[name])

    assert browser.value("window.broken ?? null") is None
    assert browser.value("document.querySelectorAll('script, img, [onerror]').length") == 0
    asked = [urlsplit(event["request"]["url"]) for event in browser.happened("Network.requestWillBeSent")]
    assert [(found.scheme, f"{found.scheme}://{found.netloc}") for found in asked] == [("http", site)]
    complaints = [event["entry"]["text"] for event in browser.happened("Log.entryAdded")]
    assert [text for text in complaints if "404" not in text or name != "nothing"] == []


def _rgb(color: str) -> str:
    return f"rgb({', '.join(str(int(color[at : at + 2], 16)) for at in (1, 3, 5))})"


def test_it_is_dark_for_whoever_prefers_it(browser: Chromium, site: str) -> None:
    pictures = []
    for dark, colors in ((False, LIGHT), (True, DARK)):
        browser.screen(1280, dark=dark)
        browser.open(site + PAGES["binary item"])
        shown = browser.value(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert shown == [_rgb(colors["paper"]), _rgb(colors["ink"])]
        assert browser.value("getComputedStyle(document.querySelector('a.name')).color") == _rgb(colors["ink"])
        pictures.append(browser.picture())
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert pictures[0] != pictures[1]


def test_the_keyboard_goes_past_the_head_of_a_page(browser: Chromium, site: str) -> None:
    browser.open(site + ITEMS)
    away = "document.querySelector('.skip').getBoundingClientRect().right"
    assert browser.value(away) < 0

    browser.press("Tab")
    assert browser.value("document.activeElement.className") == "skip"
    assert browser.value(away) > 0
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    assert browser.value("document.activeElement.id") == "content"
    browser.press("Tab")
    assert browser.value("document.activeElement.closest('main') !== null")


def test_viewing_as_somebody_works_without_scripts(browser: Chromium, site: str) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(site + f"{ITEMS}?q=hr.example.com")
    root = browser.ask("DOM.getDocument")["root"]["nodeId"]
    field = browser.ask("DOM.querySelector", nodeId=root, selector="#as")["nodeId"]
    browser.ask("DOM.focus", nodeId=field)
    browser.ask("Input.insertText", text="bob@example.com")
    browser.events.clear()
    browser.press("Enter")
    browser.loaded()

    browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.value("location.search") == "?q=hr.example.com&as=bob%40example.com&as-provider="
    assert browser.value("[...document.querySelectorAll('main .title')].map(title => title.textContent)") == [
        "Pay scale 2026",
        "Welcome",
    ]


@pytest.mark.parametrize("width", [1280, 360])
def test_a_table_stays_one_for_whoever_hears_it(browser: Chromium, site: str, width: int) -> None:
    """On a telephone rows are laid out as cards, which alone would take their meaning."""
    browser.screen(width)
    browser.open(site + ITEMS)
    nodes = _accessible(browser)

    roles = [role for role, _ in nodes]
    assert roles.count("table") == 2
    assert roles.count("columnheader") == 4 + 5
    assert roles.count("rowheader") == 50 + 3
    assert {"main", "banner", "contentinfo", "navigation", "search", "region"} <= set(roles)
    controls = [
        (role, name) for role, name in nodes if role in ("textbox", "combobox", "button", "link", "MenuListPopup")
    ]
    assert ("combobox", "View as") in controls
    assert ("textbox", "Uri or title holds") in controls
    assert [pair for pair in controls if pair[0] != "MenuListPopup" and not pair[1]] == []


def _accessible(browser: Chromium) -> list[tuple[str, str]]:
    tree: list[dict[str, Any]] = browser.ask("Accessibility.getFullAXTree")["nodes"]
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"] and "role" in node
    ]
