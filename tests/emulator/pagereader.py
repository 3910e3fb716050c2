"""Reads pages of the content browser as somebody would, and knows what a well-made one is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

from tests.emulator.conftest import KEY, ORGANIZATION, PROVIDER, SOURCE, Remote
from tests.emulator.filled import MARK

BROWSE = f"/browse/{ORGANIZATION}"
ITEMS = f"{BROWSE}/sources/{SOURCE}"
PEOPLE = f"{BROWSE}/providers/{PROVIDER}"
ASKED = f"{BROWSE}/requests"


def read(node: LexborNode) -> str:
    """Return the text of an element, each of its parts a word by itself."""
    return " ".join(node.text(separator=" ").split()).replace(" ,", ",").replace(" .", ".")


class Seen:
    """A page as somebody reads it."""

    def __init__(self, remote: Remote, url: str, code: int = 200, **query: str) -> None:
        answer = remote.client.get(url, params=query or None, headers={"authorization": ""})
        assert answer.status_code == code, f"{answer.status_code} for {url}"
        self.url = str(answer.url)
        self.source = answer.text
        self.headers = answer.headers
        self.tree = LexborHTMLParser(answer.text)

    def all(self, selector: str) -> list[LexborNode]:
        return self.tree.css(selector)

    def texts(self, selector: str) -> list[str]:
        return [read(node) for node in self.all(selector)]

    @property
    def main(self) -> str:
        return " ".join(self.texts("main"))

    @property
    def heading(self) -> str:
        return self.texts("h1")[0]

    def facts(self) -> dict[str, str]:
        return dict(zip(self.texts("dt"), self.texts("dd"), strict=True))

    def rows(self, number: int = 0) -> list[list[str]]:
        """Return the cells of a table."""
        table = self.all("table")[number]
        return [[read(cell) for cell in row.css("th, td")] for row in table.css("tbody tr")]

    def section(self, heading: str) -> str:
        found = [node for node in self.all("section") if node.css("h2")[0].text() == heading]
        assert found, f"no section {heading} among {self.texts('h2')}"
        return read(found[0])

    def links(self) -> list[str]:
        return [node.attributes["href"] or "" for node in self.all("a[href]")]


def item(uri: str) -> str:
    return f"{ITEMS}/item?uri={quote(uri, safe='')}"


def identity(name: str, kind: str = "user", provider: str = PROVIDER) -> str:
    return f"{BROWSE}/identity?provider={quote(provider)}&type={kind}&name={quote(name, safe='')}"


def assert_well_made(page: Seen) -> None:
    """Landmarks, headings in order, names for all controls, tables that can be read aloud."""
    assert [node.attributes["lang"] for node in page.all("html")] == ["en"]
    assert page.texts("title")[0].endswith("Push API emulator")
    assert [len(page.all(name)) for name in ("main", "body > header", "body > footer", "h1")] == [1, 1, 1, 1]
    levels = [int(node.tag[1]) for node in page.all("h1, h2, h3, h4")]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels)), f"{levels} on {page.url}"
    assert all(name.strip() for name in page.texts("h1, h2, h3, h4"))
    assert page.all("nav") and all(node.attributes.get("aria-label") for node in page.all("nav"))
    ids = [node.attributes["id"] for node in page.all("[id]")]
    assert len(ids) == len(set(ids))
    labelled = {node.attributes["for"] for node in page.all("label")}
    controls = page.all("input:not([type=hidden]), select")
    assert controls and all(node.attributes["id"] in labelled for node in controls)
    assert all(node.text().strip() for node in page.all("button, a, option[value='']"))
    assert all(
        (node.attributes["method"], bool(node.attributes["action"])) == ("get", True) for node in page.all("form")
    )
    for table in page.all("table"):
        assert table.css("caption")[0].text().strip()
        assert table.css("th") and all(node.attributes["scope"] in ("col", "row") for node in table.css("th"))
        assert all(node.attributes["role"] for node in table.css("thead, tbody, tr, th, td"))
    first = page.all("body a")[0]
    assert first.attributes["href"] == "#content" and page.all("main#content")


def assert_nothing_broke_out(page: Seen) -> None:
    assert not page.all("script, img, iframe, object, embed, [style], [onerror], [onclick], [src], base")
    assert MARK not in page.source
    assert KEY not in page.source
    shown = re.sub(r' value="[^"]*"', "", page.source)
    assert not set(shown) & set("\x00\u202e\u200f\u2067")
    assert "\x00" not in page.source


def crawled(remote: Remote, start: str, followed: tuple[str, ...]) -> Iterator[Seen]:
    """Yield every page that can be reached; those looked at as somebody not in `followed` lead no further."""
    waiting, found = [start], {start}
    while waiting:
        page = Seen(remote, waiting.pop())
        yield page
        viewer = parse_qs(urlsplit(page.url).query).get("as", [""])[0]
        for link in page.links() if viewer in followed else ():
            target = link.partition("#")[0]
            assert target == "" or target.startswith("/"), f"{link} on {page.url}"
            if target and target not in found:
                found.add(target)
                waiting.append(target)
