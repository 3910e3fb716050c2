"""The content browser: what its pages say, that they are well made, and that nothing breaks out of them."""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser, LexborNode

from reconciler.emulator.access import Decision, Level, PermissionSet, Who, decide
from reconciler.emulator.options import Doubts
from reconciler.emulator.pages import items as page_items
from reconciler.emulator.pages.items import hexadecimal, readable
from reconciler.emulator.pages.listing import Listing, Wanted, remembering
from reconciler.emulator.pages.markup import tag, text
from reconciler.emulator.pages.style import DARK, LIGHT
from reconciler.emulator.roll import KINDS, Viewer, explain, read_viewer
from tests.emulator.conftest import EMAIL, ORGANIZATION, PROVIDER, SOURCE, Remote, Start
from tests.emulator.filled import HOSTILE, LONG, MARK, PATH, allowed, fill
from tests.emulator.pagereader import (
    ASKED,
    BROWSE,
    ITEMS,
    PEOPLE,
    Seen,
    assert_nothing_broke_out,
    assert_well_made,
    crawled,
    identity,
    item,
)


@pytest.fixture
def filled(start: Start) -> Remote:
    remote = start()
    fill(remote)
    return remote


# Well made


def test_every_link_leads_to_a_well_made_page_that_nothing_broke_out_of(filled: Remote) -> None:
    pages = list(crawled(filled, "/", ("", "user:alice")))

    for page in pages:
        assert_well_made(page)
        assert_nothing_broke_out(page)
    paths = {urlsplit(page.url).path for page in pages}
    assert {"/", ITEMS, f"{ITEMS}/item", PEOPLE, f"{BROWSE}/identity", ASKED, f"{ASKED}/1"} <= paths
    seen = {page.heading for page in pages}
    assert {"Employee handbook", "Wiki page 59", "group All Staff", "user carol", "Request 30"} <= seen
    assert {html.unescape(text(value)) for value in (MARK, "100%", "\x00")} <= seen


@pytest.mark.parametrize(
    "path",
    [
        *("/browse/nobody/requests", "/browse/nobody/sources/x", "/browse", "/browse/", "/browse/x/y/z"),
        *(f"{BROWSE}/sources/none", f"{ITEMS}/item", f"{ITEMS}/item?uri=", f"{ITEMS}/item?uri=%00%ff%", f"{ITEMS}/x"),
        *(f"{BROWSE}/providers/none", f"{BROWSE}/providers/", f"{BROWSE}/identity", f"{BROWSE}/identity?type=x&name=y"),
        *(f"{ASKED}/0", f"{ASKED}/9999", f"{ASKED}/-1", f"{ASKED}/{'9' * 50}", f"{ASKED}/x%2Fy"),
        f"{BROWSE}/sources/{quote(MARK, safe='')}",
    ],
)
def test_what_is_not_there_gets_a_page_that_says_so(filled: Remote, path: str) -> None:
    page = Seen(filled, path, 404)

    assert page.heading == "Not here"
    assert "/" in page.links()
    assert_well_made(page)
    assert_nothing_broke_out(page)


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=-1", "page=x", "page=99999999999999999999", "page=400", "q=%25", "q=%00", "q=%ff", "q=a&q=b",
     "show=x", "as=", "as=:", "as=user:", "as=x:y", "as=%00", "as=group:x&as-info=[1]", "as=u&as-info=%7Bx",
     "as-provider=none&as=user:x", "status=x", "state=x&type=x", "uri=%"],
)  # fmt: skip
def test_odd_parameters_do_no_harm(filled: Remote, query: str) -> None:
    for path in ("/", ITEMS, PEOPLE, ASKED, f"{BROWSE}/sources/shared"):
        page = Seen(filled, f"{path}?{query}")
        assert_well_made(page)
        assert_nothing_broke_out(page)


def test_only_the_one_style_sheet_may_act_on_a_page(filled: Remote) -> None:
    page = Seen(filled, "/")

    (style,) = page.all("style")
    digest = base64.b64encode(hashlib.sha256(style.text().encode()).digest()).decode()
    policy = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not {"cache-control", "etag", "last-modified", "expires", "set-cookie"} & set(page.headers)


def _luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_can_be_read_on_its_ground(colors: dict[str, str]) -> None:
    """The ratios of WCAG 2.2 AA: 4.5 for text, 3 for the edges of controls."""
    pairs = [(ink, ground, 4.5) for ink in ("ink", "soft", "accent") for ground in ("paper", "wash", "accentwash")]
    pairs += [("ink", ground, 4.5) for ground in ("yeswash", "nowash")]
    pairs += [("accent", ground, 4.5) for ground in ("yeswash", "nowash")]
    pairs += [(name, f"{name}wash", 4.5) for name in ("yes", "no", "warn")]
    pairs += [("edge", ground, 3.0) for ground in ("paper", "wash", "accentwash")]
    for ink, ground, least in pairs:
        light, dark = sorted((_luminance(colors[ink]), _luminance(colors[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, f"{ink} on {ground}"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("<>&\"'\x00\u202e\r\n"))))
def test_a_value_comes_out_of_an_attribute_as_it_went_in(value: str) -> None:
    node = LexborHTMLParser(tag("input", value=value)).css("input")[0]
    kept = value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    assert (node.attributes["value"] or "") == kept
    assert list(node.attributes) == ["value"]


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("<>&\"'\x00\u202e\r\n"))))
def test_a_value_as_text_is_no_markup(value: str) -> None:
    (shown,) = LexborHTMLParser(f"<p>{text(value)}</p>").css("body *")
    assert shown.tag == "p"


def test_what_cannot_be_seen_is_named() -> None:
    assert text("a\x00b\u202ec\u200bd\ud800\tz") == "a⟨U+0000⟩b⟨U+202E⟩c⟨U+200B⟩d⟨U+D800⟩\tz"


# The overview


def test_an_empty_emulator_has_its_pages(start: Start) -> None:
    remote = start()
    for page in crawled(remote, "/", ("",)):
        assert_well_made(page)
    assert "Nothing was pushed to this source yet." in Seen(remote, ITEMS).main
    assert "It has no identities yet." in Seen(remote, PEOPLE).main
    assert "No request has come yet." in Seen(remote, ASKED).main


def test_the_overview_says_what_there_is_and_what_was_refused(filled: Remote) -> None:
    page = Seen(filled, "/")

    assert page.texts("h2") == [ORGANIZATION, "other"]
    assert page.rows(0) == [
        [SOURCE, "push", "secured", PROVIDER, "idle", "0", "69"],
        ["shared", "push", "shared", "none", "idle", "0", "1"],
    ]
    assert [(row[0], row[4]) for row in page.rows(1)] == [(EMAIL, "0"), (PROVIDER, "13"), ("exact", "0")]
    refused = {row[0]: (row[2], row[3]) for row in page.rows(2)}
    assert refused["no-scheme"] == ("rejected", "the document id is not a URI with a scheme")
    assert refused["https://wiki.example.com/gone"] == ("skipped", "there is no such item")
    assert f"https://example.com/{MARK}#fragment" in refused


def test_what_waits_and_what_runs_is_on_the_overview(start: Start) -> None:
    remote = start(delay=60.0)
    remote.put("https://example.com/later")
    remote.client.post(remote.documents.replace("documents", "status"), params={"statusType": "REBUILD"})

    assert Seen(remote, "/").rows(0)[0][4:] == ["rebuild", "1", "0"]
    assert "1 operation waiting" in Seen(remote, ITEMS).texts("footer")[0]
    remote.clock.advance(61)
    assert Seen(remote, "/").rows(0)[0][5:] == ["0", "1"]


# Sources and items


def test_items_come_by_uri_fifty_to_a_page(filled: Remote) -> None:
    first = Seen(filled, ITEMS)
    assert first.texts("caption")[0] == "69 items, by uri"
    assert len(first.rows()) == 50
    assert first.texts("nav.pages") == ["1 to 50 of 69 Next Last"]
    (following,) = first.all("nav.pages a[rel=next]")

    second = Seen(filled, following.attributes["href"] or "")
    assert second.texts("nav.pages") == ["51 to 69 of 69 First Previous"]
    assert len(second.rows()) == 19
    names = [row[0] for row in first.rows() + second.rows()]
    assert len(set(names)) == 69
    beyond = Seen(filled, f"{ITEMS}?page=3")
    assert "The list ends before this page." in beyond.main


@pytest.mark.parametrize(
    ("words", "expected"),
    [("PAY SCALE", 1), ("wiki.example.com/page/001", 10), ("100%", 1), ("%", 1), ("_", 0), ("no such thing", 0)],
)
def test_the_search_takes_words_literally_and_without_case(filled: Remote, words: str, expected: int) -> None:
    page = Seen(filled, ITEMS, q=words)

    assert len(page.rows() if expected else []) == expected
    assert page.all("input#q")[0].attributes["value"] == words
    assert expected or "No item is like that." in page.main


def test_the_search_folds_letters_of_every_alphabet(filled: Remote) -> None:
    filled.put("https://example.com/ä", {"title": "ÄRZTE und ΣΟΦΟΣ", "permissions": [allowed("user:alice")]})

    assert [row[0] for row in Seen(filled, ITEMS, q="ärzte").rows()] == ["ÄRZTE und ΣΟΦΟΣ https://example.com/ä"]


def test_viewing_as_somebody_shows_what_they_see(filled: Remote) -> None:
    everybody = Seen(filled, ITEMS, q="hr.example.com", **{"as": "anonymous"})
    assert [row[0] for row in everybody.rows()] == [f"Welcome {PATH}/welcome"]

    bob = Seen(filled, ITEMS, q="hr.example.com", **{"as": "bob@example.com"})
    assert [row[0] for row in bob.rows()] == [f"Pay scale 2026 {PATH}/pay-scale.pdf", f"Welcome {PATH}/welcome"]
    assert bob.texts("caption")[0] == "2 items that they see, by uri"

    marked = Seen(filled, ITEMS, q="hr.example.com", show="all", **{"as": "user:bob"})
    assert [row[1] for row in marked.rows()] == ["hidden", "seen", "seen"]
    assert Seen(filled, "/", **{"as": "user:alice"}).rows(0)[0][-1] == "64"


def test_the_viewer_stays_over_all_pages(filled: Remote) -> None:
    query = {"as": "group:All Staff", "as-provider": PROVIDER, "as-info": '{"a":"b"}'}
    for path in ("/", ITEMS, item(PATH), PEOPLE, identity("carol"), ASKED, f"{ASKED}/1", "/browse/x"):
        url = f"{path}{'&' if '?' in path else '?'}" + "&".join(f"{key}={quote(value)}" for key, value in query.items())
        page = Seen(filled, url, 404 if path == "/browse/x" else 200)
        left = [node for node in page.all("a[href^='/']") if not _views(node, query)]
        assert [node.text() for node in left] == ["View everything"] or path.startswith(f"{BROWSE}/identity")
        assert page.texts(".as p")[0].startswith("Viewing as group All Staff")
        for form in page.all("form"):
            sent = {node.attributes["name"]: node.attributes.get("value") for node in form.css("input")}
            sent |= {
                node.attributes["name"]: node.css("[selected]")[0].attributes["value"] for node in form.css("select")
            }
            assert {key: sent.get(key) for key in query} == query


def _views(node: LexborNode, query: dict[str, str]) -> bool:
    asked = parse_qs(urlsplit(node.attributes["href"] or "").query)
    return all(asked.get(key) == [value] for key, value in query.items())


def test_an_item_says_everything_that_is_known_of_it(filled: Remote) -> None:
    page = Seen(filled, item(PATH))

    assert page.heading == "Employee handbook"
    facts = page.facts()
    assert facts["Ordering id"] == "1700000000000"
    assert facts["Came as"] == "data"
    assert facts["Size"] == "108 bytes"
    fields = {row[0]: row[1:] for row in page.rows(1)}
    assert fields["author"] == ["Human Resources", "pushed"]
    assert fields["tags"] == ["policy people", "pushed"]
    assert fields["pages"] == ["214", "pushed"]
    assert fields["date"] == ["1700000000000 2023-11-14 22:13:20", "added"]
    assert facts["bad key!"] == "no field takes this"
    assert "<script>window.broken=1</script><p>Holiday, travel &amp; expenses.</p>" in page.section("Content")
    assert "2 children" in page.section("Parent and children").casefold()
    assert [row[:2] for row in page.rows(2)] == [["add", "completed"]]
    assert "Employee handbook" in page.texts("title")[0]


def test_metadata_that_no_field_takes_is_told_from_fields(start: Start) -> None:
    remote = start(fields="strict")
    remote.put("https://example.com/x", {"author": "A", "shade": "blue", "permissions": [allowed("user:alice")]})

    page = Seen(remote, item("https://example.com/x"))
    assert "author" in {row[0] for row in page.rows(1)}
    assert "Metadata that no field of its name took:" in page.main
    assert page.facts()["shade"] == "blue"


def test_numbers_beyond_any_calendar_are_shown(filled: Remote) -> None:
    fields = {"date": 1e30, "indexeddate": -1, "large": 2**63, "small": 1e-300}
    filled.put("https://example.com/numbers", {**fields, "permissions": [allowed("user:alice")]})

    shown = {row[0]: row[1] for row in Seen(filled, item("https://example.com/numbers")).rows(1)}
    assert shown["large"] == "9223372036854775808"
    assert shown["small"] == "1e-300"


def test_binary_content_is_shown_as_size_type_and_bytes(filled: Remote) -> None:
    page = Seen(filled, item(f"{PATH}/pay-scale.pdf"))

    facts = page.facts()
    assert facts["Came as"] == "compressedBinaryData"
    assert facts["Compression"] == "ZLIB"
    assert facts["Type"] == "PDF"
    assert page.all("pre")[0].text().splitlines()[0].startswith("000000  25 50 44 46 2d 31 2e 37 0a 00")
    assert facts["Parent"] == PATH


def test_content_that_was_too_large_to_keep_shows_how_it_begins(start: Start) -> None:
    remote = start(kept_body_bytes=100)
    remote.put("https://example.com/large", {"data": "word " * 1000, "permissions": [allowed("user:a")]})

    page = Seen(remote, item("https://example.com/large"))
    assert "It is too large to be kept" in page.main
    assert page.all("pre")[0].text().startswith("word word")
    assert len(page.all("pre")[0].text()) <= 2000


def test_long_content_is_cut_between_characters(filled: Remote) -> None:
    filled.put("https://example.com/long", {"data": "a" + "é" * 9000, "permissions": [allowed("user:a")]})

    page = Seen(filled, item("https://example.com/long"))
    assert page.all("pre")[0].text() == "a" + "é" * 4095
    assert "The first 8,192 bytes, as text:" in page.main


@pytest.mark.parametrize(
    ("head", "expected"),
    [(b"", ""), (b"plain\ttext\r\n", "plain\ttext\r\n"), ("é".encode()[:1], ""), (b"\xff\xfe\xfd\xfc\xfbab", None),
     (b"a\x00b", None), (b"a\x1b[31m", None)],
)  # fmt: skip
def test_text_is_told_from_other_content(head: bytes, expected: str | None) -> None:
    assert readable(head) == expected


def test_bytes_are_laid_out_by_sixteen() -> None:
    assert hexadecimal(bytes(range(60, 78))) == (
        "000000  3c 3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b  <=>?@ABCDEFGHIJK\n000010  4c 4d" + " " * 44 + "LM"
    )


def test_a_permission_model_is_drawn_in_levels_and_sets(filled: Remote) -> None:
    page = Seen(filled, item(f"{PATH}/pay-scale.pdf"))

    assert page.texts(".level h3") == ["Level 1 · Board", "Level 2 · Everyone else"]
    assert [len(level.css(".sets > li")) for level in page.all(".level")] == [2, 1]
    assert page.texts(".sets > li") == [
        "Line Allowed group Managers",
        "Named Allowed user carol",
        "Allowed group All Staff group Ghosts unresolved Denied user dave",
    ]
    assert "incomplete an identity that it names is not known" in page.section("Permission model")


def test_effective_permissions_say_who_and_why(filled: Remote) -> None:
    page = Seen(filled, item(f"{PATH}/pay-scale.pdf"))

    rows = {row[0]: row[1:] for row in page.rows(0)}
    assert rows["user carol"] == ["sees it", "Level 1 allows group Managers, user carol"]
    assert rows[f"user carol@example.com {EMAIL}"] == ["sees it", "Level 1 allows group Managers, user carol"]
    assert rows["user bob"] == ["sees it", "Level 2 allows group All Staff"]
    assert rows["user dave"] == ["does not", "Level 2 denies user dave"]
    assert page.section("Who sees it").endswith("named but not known, and so stand for nobody: group Ghosts unresolved")
    assert "9 users of 11 that it concerns may see it" in page.texts("caption")


@pytest.mark.parametrize(
    ("viewer", "said"),
    [
        ("bob@example.com", "bob@example.com does not see this item. Level 1 denies group Contractors"),
        ("user:alice", "alice sees this item. Level 1 allows group All Staff"),
        ("nobody@example.org", "nobody@example.org does not see this item. No level allows or denies them."),
        ("anonymous", "Somebody who did not log in does not see this item. No level allows or denies them."),
    ],
)
def test_an_item_says_whether_the_viewer_sees_it(filled: Remote, viewer: str, said: str) -> None:
    page = Seen(filled, f"{item(PATH)}&as={viewer}")
    assert page.texts(".note") == [said]


def test_items_of_a_shared_source_are_everybodys(filled: Remote) -> None:
    page = Seen(filled, f"{BROWSE}/sources/shared/item?uri=https://blog.example.com/hello")
    assert "Items of a shared source are seen by everybody." in page.section("Who sees it")


def test_an_unknown_denied_identity_can_hide_an_item(start: Start) -> None:
    remote = start(doubts=Doubts(unresolved_deny_hides_item=True))
    remote.put("https://example.com/x", {"permissions": [allowed("user:alice", denied=("group:Ghosts",))]})

    page = Seen(remote, f"{item('https://example.com/x')}&as=user:alice")
    assert "hides the item from everybody" in page.texts(".note")[0]
    assert "in error" in page.section("Permission model")


def test_in_a_large_source_only_a_page_of_items_is_judged(filled: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_items, "COUNTED", 60)

    page = Seen(filled, ITEMS, **{"as": "user:alice"})
    assert page.texts("caption")[0] == "Items; how many there are is not counted that they see, by uri"
    assert len(page.rows()) == 50
    assert page.texts("nav.pages") == ["1 to 50 Next"]
    assert Seen(filled, "/", **{"as": "user:alice"}).rows(0)[0][-1] == "not counted"


def test_items_with_one_model_are_judged_once(filled: Remote) -> None:
    engine: Any = filled.client._transport.app.state.engine  # type: ignore[attr-defined]
    filled.items()
    judged = []

    def sees(permissions: str | None) -> bool:
        judged.append(permissions)
        return True

    listing = Listing(engine.database)
    place = engine.source(ORGANIZATION, SOURCE)[0]
    assert listing.count(Wanted(place, "wiki", remembering(sees))) == 60
    assert len(judged) == 1
    judged.clear()
    assert len(listing.items(Wanted(place, "", sees), 2, 0)) == 2
    assert len(judged) <= 3


def test_hostile_uris_keep_their_own_page(filled: Remote) -> None:
    for uri in HOSTILE:
        page = Seen(filled, item(uri))
        assert page.facts()["Unique id"].startswith("42.")
        assert len(page.heading) < 400
    assert LONG in html.unescape(Seen(filled, item(LONG)).source)


# Reasons

WHOS = [Who("p", "USER", name) for name in "abc"]
SETS = st.builds(
    PermissionSet, st.booleans(), st.frozensets(st.sampled_from(WHOS)), st.frozensets(st.sampled_from(WHOS), max_size=1)
)
LEVELS = st.lists(st.lists(SETS, max_size=3).map(tuple), max_size=3).map(tuple)


@given(LEVELS, st.frozensets(st.sampled_from(WHOS)), st.sampled_from(["inconclusive", "denied"]))
def test_a_reason_is_the_reason_of_the_decision(levels: tuple[Level, ...], held: frozenset[Who], partial: Any) -> None:
    reason = explain(levels, held, partial)

    assert reason.decision is decide(levels, held, partial)
    assert set(reason.through) <= held
    assert (reason.level is None) == (reason.decision is Decision.UNSPECIFIED)
    if reason.level is not None:
        assert decide(levels[: reason.level - 1], held, partial) is Decision.UNSPECIFIED


@given(
    st.builds(
        Viewer,
        st.sampled_from(sorted(KINDS)),
        st.text().filter(lambda name: name.strip() == name),
        st.text(),
        st.dictionaries(
            st.text(alphabet=st.characters(codec="utf-8")), st.text(alphabet=st.characters(codec="utf-8"))
        ).map(lambda info: tuple(sorted(info.items()))),
    )
)
def test_a_viewer_is_read_as_it_was_written(viewer: Viewer) -> None:
    assert read_viewer(viewer.query) == (viewer if viewer.name else Viewer())


# Fields and mappings


def test_fields_are_listed_and_searched(filled: Remote) -> None:
    model = {"name": "color", "type": "STRING", "multiValueFacet": True}
    assert filled.client.post(f"{filled.platform}/indexes/fields", json=model).status_code == 204
    overview = Seen(filled, "/")
    (link,) = [found for found in overview.links() if found.startswith(f"{BROWSE}/fields")]
    page = Seen(filled, link)
    assert_well_made(page)
    rows = {row[0]: row[1:] for row in page.rows(0)}
    assert rows["color"] == ["STRING", "several values, in queries, in results", "a call"]
    assert rows["date"][0] == "DATE"
    assert rows["date"][2] == "system"
    assert [row[0] for row in Seen(filled, f"{BROWSE}/fields?q=COL").rows(0)] == [
        "collection",
        "color",
        "foldingcollection",
    ]
    assert "No field is called like that." in Seen(filled, f"{BROWSE}/fields?q=zzz").main
    assert "The list ends before this page." in Seen(filled, f"{BROWSE}/fields?page=9").main


def test_mappings_are_shown_with_their_source(filled: Remote) -> None:
    assert "Mappings" not in Seen(filled, ITEMS).main
    rules = [{"id": "1", "field": "author", "content": ["%[shade]", MARK]}]
    body = {"common": {"rules": rules}, "types": [{"id": "2", "type": "Video", "rules": rules}]}
    assert filled.client.put(f"{filled.platform}/sources/{SOURCE}/mappings", json=body).is_success
    page = Seen(filled, ITEMS)
    assert_well_made(page)
    assert_nothing_broke_out(page)
    assert [(row[0], row[2]) for row in page.rows(1)] == [("author", "every item"), ("author", "Video")]
