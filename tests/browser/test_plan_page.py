"""The HTML page of a plan in a real browser: its layout, its colors, its search, and that no name in it runs.

Needs Debian's package chromium, which `.ci/run` installs.
"""

from __future__ import annotations

import json

import pytest

from tests.browser.chromium import BEYOND, INJECTED, Chromium
from tests.builders import PROJECT, Folder, as_yaml, run_here

pytestmark = [pytest.mark.debian, pytest.mark.slow]

MARK = "<script>window.broken = 1</script><img src=x onerror='window.broken = 1'>\"'&\u202egnp.exe\u0007"
PATH = "<svg/onload=window.broken=1>\"'&"  # as much of it as a uri may hold
LONG = "x" * 400
ITEMS = [
    {"uri": "https://example.com/public", "source": "blog", "title": MARK},
    *(
        {
            "uri": f"https://example.com/{name}",
            "title": name,
            "body": {"text": f"{MARK} says {name}"},
            "permissions": {"allowed": [f"group:{MARK}", "group:Staff"], "denied": ["user:bob@example.com"]},
            "metadata": {"note": MARK, "tags": [name, LONG]},
        }
        for name in ("a", PATH, LONG, "\u0627\u0644\u0639\u0631\u0628\u064a\u0629")
    ),
]
MEMBERS = ["user:alice@example.com", f"user:{MARK}", f"user:{LONG}"]
TESTS = [
    {"who": f"user:{MARK}", "cannotView": ["https://**"]},
    {"who": "user:alice@example.com", "canView": ["https://**"]},
]


def manifest(members: list[str]) -> str:
    # Whoever is denied is declared: an unknown one would hide the items from everybody.
    groups = [{"name": name, "members": members} for name in (MARK, "Staff")]
    groups.append({"name": "Others", "members": ["user:bob@example.com"]})
    return as_yaml({"defaults": {"source": "handbook", "provider": "corp"}, "items": ITEMS, "groups": groups})


MANY = 60


def many_changes(members: list[str], text: str) -> str:
    """Items and groups, most of which differ alike between two texts."""
    items = [
        {
            "uri": f"https://example.com/page/{number}",
            "source": "handbook" if number % 3 else "blog",
            "title": f"{text} {number}",
            **({"permissions": {"allowed": ["group:Staff"]}} if number % 3 else {}),
        }
        for number in range(MANY)
    ]
    items += [{"uri": f"https://example.com/{text}", "source": "blog"}]
    groups = [{"name": "Staff", "members": members}, {"name": f"Of {text}", "members": members[:1]}]
    return as_yaml({"defaults": {"source": "handbook", "provider": "corp"}, "items": items, "groups": groups})


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of many changes of every verb, in two sources, with people who gain and who lose."""
    root = tmp_path_factory.mktemp("many")
    folder = Folder(root / "project", PROJECT)
    folder.write("all.yaml", many_changes(["user:ann@example.com", "user:bob@example.com"], "One"))
    folder.ok("apply", "--auto-approve", "--allow", "item-public")
    folder.write("all.yaml", many_changes(["user:ann@example.com", "user:cy@example.com"], "Two"))
    path = root / "many.html"
    folder.ok("plan", "--report", f"html={path}", "--blame")
    return path.as_uri()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Pages by name, as addresses of files: a first load, one with failing tests, a saved plan, a comparison."""
    root = tmp_path_factory.mktemp("pages")
    folder = Folder(root / "project", PROJECT)
    found: dict[str, str] = {}

    def page(name: str, text: str) -> None:
        path = root / f"{name}.html"
        path.write_text(text, encoding="utf-8")
        found[name] = path.as_uri()

    folder.write("all.yaml", manifest(MEMBERS))
    page("first", folder.ok("plan", "--format", "html", "--body-diff", "--detail", "full").out)
    allowed = ("--allow", "item-public", "--allow", "widened-access", "--allow", "mass-widening")
    folder.ok("apply", "--auto-approve", *allowed)
    folder.write("all.yaml", manifest(["user:dora@example.com", MEMBERS[2]]))
    folder.write("tests.yaml", as_yaml({"defaults": {"provider": "corp"}, "accessTests": TESTS}))
    saved = root / "plan.json"
    folder.ok("plan", "--out", str(saved), code=1)
    page("saved", run_here("show", str(saved), "--format", "html").out)
    page("names", run_here("show", str(saved), "--format", "html", "--detail", "names").out)
    page("difference", folder.ok("access", "diff", "--format", "html").out)
    return found


NAMES = ("first", "saved", "names", "difference")

# What of the changes can be seen, and of the table of who sees what.
SHOWN = """[...document.querySelectorAll('.group [data-find]')].filter(element => element.checkVisibility()).length"""
ROWS = "[...document.querySelectorAll('.matrix tbody tr')].filter(element => element.checkVisibility()).length"
FILL = """(() => {
    const form = document.querySelector('form.find');
    form.reset();
    for (const [name, value] of Object.entries(%s)) {
        const field = form.elements[name];
        if (field.type === 'checkbox') field.checked = value; else field.value = value;
    }
    form.dispatchEvent(new Event('input', {bubbles: true}));
    return form.elements.count.value;
})()"""


def filled(browser: Chromium, **fields: object) -> str:
    """Fill in the form and return what it says of how many it found."""
    count: str = browser.value(FILL % json.dumps(fields))
    return count


def test_changes_are_found_by_words_kind_verb_source_and_access(browser: Chromium, many: str) -> None:
    browser.open(many)
    everything = browser.value(SHOWN)
    assert filled(browser) == ""
    assert filled(browser, words="PAGE/7") == f"1 of {everything} entries", "also what is told by a pattern"
    assert filled(browser, words="page no-such-word") == f"0 of {everything} entries"
    assert (
        browser.value("[...document.querySelectorAll('.group h3')].some(element => element.checkVisibility())") is False
    )
    seen = {name: filled(browser, verb=name) for name in ("create", "update", "delete")}
    assert sum(int(count.split(" ")[0]) for count in seen.values()) == everything
    sources = {name: filled(browser, scope=name) for name in ("blog", "handbook", "corp")}
    assert sum(int(count.split(" ")[0]) for count in sources.values()) == everything
    assert filled(browser, kind="group", verb="create") == f"1 of {everything} entries"
    assert "Of Two" in browser.value("[...document.querySelectorAll('.group')].find(e => !e.hidden).textContent")
    access = int(filled(browser, access=True, verb="update").split(" ")[0])
    assert access == 1, "only the members of a group"
    assert filled(browser) == ""
    assert browser.value(SHOWN) == everything


def test_people_are_found_in_the_matrix(browser: Chromium, many: str) -> None:
    browser.open(many)
    assert browser.value(ROWS) > 2
    filled(browser, words="cy@example.com")
    assert browser.value(ROWS) == 1
    row = browser.value("document.querySelector('.matrix tbody tr:not([hidden])').innerText")
    assert "user:cy@example.com" in row
    assert "no \u2192 yes" in row
    filled(browser, words="bob@example.com")
    assert "yes \u2192 no" in browser.value("document.querySelector('.matrix tbody tr:not([hidden])').innerText")


def test_without_scripts_all_is_there_and_no_form(browser: Chromium, many: str) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(many)
    browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.value("document.querySelector('form.find').checkVisibility()") is False
    assert browser.value("document.querySelectorAll('.group code').length") > MANY
    assert browser.value(ROWS) > 2


def test_a_form_that_is_sent_leads_nowhere(browser: Chromium, many: str) -> None:
    browser.open(many)
    browser.value("document.querySelector('form.find input').focus()")
    browser.press("Enter")
    assert browser.value("location.href") == many


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 360])
def test_a_page_of_many_changes_fits_a_screen_and_can_be_read(
    browser: Chromium, many: str, width: int, dark: bool
) -> None:
    browser.screen(width, dark=dark)
    browser.open(many)
    assert browser.value(BEYOND) == []
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(CONTRAST) >= 4.5
    assert browser.picture().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_overflows_a_screen_sideways(browser: Chromium, pages: dict[str, str], name: str) -> None:
    browser.open(pages[name])
    for width in (1280, 640, 360, 320):
        browser.screen(width)
        browser.value("document.querySelectorAll('details').forEach(element => { element.open = true })")
        assert browser.value(BEYOND) == [], f"at {width}"
        assert browser.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", NAMES)
def test_a_page_loads_nothing_runs_nothing_and_has_nothing_to_complain_of(
    browser: Chromium, pages: dict[str, str], name: str
) -> None:
    browser.open(pages[name])
    assert browser.value("window.broken ?? null") is None
    assert browser.value("document.querySelectorAll('img, link, [onerror]').length") == 0
    # Its own script alone, which a comparison has no use for.
    assert browser.value("document.querySelectorAll('script').length") == (name != "difference")
    assert [event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")] == [pages[name]]
    assert [event["entry"]["text"] for event in browser.happened("Log.entryAdded")] == []
    assert browser.value("document.body.textContent.includes('<script>window.broken = 1</script>')")
    assert browser.value("getComputedStyle(document.querySelector('h1')).fontWeight") == "680", "its own style holds"


def test_the_policy_stops_what_would_be_injected(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["first"])
    assert browser.value(INJECTED) == [None, False]


def test_it_works_without_scripts_and_by_keyboard(browser: Chromium, pages: dict[str, str]) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(pages["saved"])
    browser.press("Tab")
    browser.press("Enter")
    browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.value("location.hash") == "#problems"
    assert browser.value("document.querySelector('#problems') !== null")


def test_it_is_dark_for_whoever_prefers_it(browser: Chromium, pages: dict[str, str]) -> None:
    browser.open(pages["saved"])
    shown = []
    for dark in (False, True):
        browser.screen(1280, dark=dark)
        shown.append(browser.value("getComputedStyle(document.body).backgroundColor"))
    assert shown == ["rgb(255, 255, 255)", "rgb(16, 21, 28)"]


# The least contrast of any text with what is behind it, by the formula of WCAG 2.
CONTRAST = """(() => {
    const parts = color => color.match(/[0-9.]+/g).map(Number)
    const light = color => parts(color).slice(0, 3).map(part => part / 255)
        .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0)
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor
            if (parts(color)[3] !== 0) return color
        }
    }
    const texts = [...document.querySelectorAll('body *')].filter(
        element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())
    )
    return Math.min(...texts.map(element => {
        const [a, b] = [light(getComputedStyle(element).color), light(behind(element))]
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
    }))
})()"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_all_text_can_be_read(browser: Chromium, pages: dict[str, str], name: str, dark: bool) -> None:
    browser.screen(1280, dark=dark)
    browser.open(pages[name])
    assert browser.value(CONTRAST) >= 4.5
