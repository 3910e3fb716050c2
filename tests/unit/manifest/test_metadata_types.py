"""The type of each metadata key: over all items, in any order of files, and however much of it was read before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.load import Loaded, load_manifests
from reconciler.manifest.metatypes import Shown, carried
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Environment, FieldsMode, Project, Source
from reconciler.model.metadata import FieldType, join, type_of
from reconciler.problems import Problem
from tests.builders import as_yaml

SOURCES = (Source("s", "1", "shared"), Source("t", "2", "shared"))


def load(root: Path, *, fields: FieldsMode = "check", cached: bool = False, **files: Any) -> Loaded:
    """Load these manifests; a name ending in `_csv` or `_jsonl` makes a data file."""
    project = Project(Environment("local", "emulator", "org", "x"), ("*.yaml",), SOURCES, (), fields=fields)
    (root / "reconciler.yaml").write_text("sources: {}\n")
    for name, text in files.items():
        stem, _, kind = name.partition("_")
        (root / f"{stem}.{kind or 'yaml'}").write_text(text if isinstance(text, str) else as_yaml(text))
    cache = ManifestCache(root / "cache.db" if cached else None, "1")
    try:
        return load_manifests(project, ProjectFolder(root), "reconciler.yaml", recorded=None, cache=cache)
    finally:
        cache.close()


def items(*metadata: dict[str, Any], source: str = "s", name: str = "x") -> dict[str, Any]:
    entries = [{"uri": f"{name}:{number}", "metadata": entry} for number, entry in enumerate(metadata)]
    return {"defaults": {"source": source}, "items": entries}


def told(loaded: Loaded) -> list[str]:
    return [shown(problem) for problem in loaded.problems]


def shown(problem: Problem) -> str:
    assert problem.code == "metadata-type-conflict"
    return f"{problem.position} {problem.what}; " + "; ".join(
        f"{other.position} {other.what}" for other in problem.related
    )


def types(loaded: Loaded) -> dict[str, str]:
    return {f"{use.source}.{use.key}": str(use.type) for use in loaded.metadata()}


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "LONG"),
        (-(2**31), "LONG"),
        (2**31 - 1, "LONG"),
        (2**31, "LONG_64"),
        (-(2**63), "LONG_64"),
        (2**63, "DOUBLE"),
        (1.0, "DOUBLE"),
        (True, "STRING"),
        ("", "STRING"),
        ("12", "STRING"),
        ("2017-11-08T12:18:41.666Z", "DATE"),
        ("2017-11-08T12:18:41Z", "DATE"),
        ("2016-01-11 21:23:14", "DATE"),
        ("2017-11-08", "STRING"),
        ("2017-11-08T12:18:41+02:00", "STRING"),
        ("2017-13-08T12:18:41Z", "STRING"),
        ("2017-11-08T12:18:41Z\n", "STRING"),
        (["a"], "STRING, multi-value"),
        ([1, 2], "STRING, multi-value"),
        ([], "STRING, multi-value"),
    ],
)
def test_a_value_asks_for_a_type(value: Any, expected: str) -> None:
    assert str(type_of(value)) == expected


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("LONG LONG_64", "LONG_64"),
        ("DOUBLE LONG", "DOUBLE"),
        ("DATE STRING", "STRING"),
        ("DATE MULTI", "MULTI"),
        ("DATE LONG", "STRING"),
        ("MULTI DOUBLE", "MULTI"),
    ],
)
def test_types_join_upwards(kinds: str, expected: str) -> None:
    assert join(FieldType[kind] for kind in kinds.split()).name == expected


# -- inference -------------------------------------------------------------------------------------


def test_every_value_counts(tmp_path: Path) -> None:
    date, text = "2017-11-08T12:18:41Z", "soon"
    loaded = load(
        tmp_path,
        a=items({"n": 1, "d": date, "l": "one", "b": True}, {"n": 2**40, "d": date}, {"n": 3, "D": text, "l": ["a"]}),
        b=items({"n": 1.5, "d": date}, source="t"),
    )
    assert told(loaded) == []
    assert types(loaded) == {
        "s.b": "STRING",
        "s.d": "STRING",
        "s.l": "STRING, multi-value",
        "s.n": "LONG_64",
        "t.d": "DATE",
        "t.n": "DOUBLE",
    }


def test_what_an_item_says_outside_of_its_metadata_needs_no_type(tmp_path: Path) -> None:
    entry = {"uri": "x:1", "source": "s", "title": "T", "clickableUri": "x:2", "permanentId": "p", "metadata": {}}
    assert types(load(tmp_path, a={"items": [entry]})) == {}


def test_whole_numbers_and_fractions_agree(tmp_path: Path) -> None:
    assert told(load(tmp_path, a=items({"price": 1}, {"price": 1.5}), b=items({"price": 2**40}, name="y"))) == []


# -- conflicts -------------------------------------------------------------------------------------


def test_a_number_and_a_text_are_told_with_both_places(tmp_path: Path) -> None:
    a = "items:\n  - uri: x:1\n    source: s\n    metadata: {price: 12}\n"
    b = 'items:\n  - uri: x:2\n    source: t\n    metadata:\n      Price: "12 EUR"\n'
    [problem] = load(tmp_path, a=a, b=b).problems
    assert (str(problem.position), problem.code) == ("b.yaml:5:14", "metadata-type-conflict")
    assert problem.what == 'metadata "price" is a text here and a number elsewhere'
    assert problem.why == (
        "a field has one type; values of the other are accepted with the item and then vanish. "
        "A list and a truth value count as text."
    )
    assert problem.fix == "write it the same way in all items, or give one of the two another key."
    assert problem.excerpt == '      Price: "12 EUR"'
    [other] = problem.related
    assert (str(other.position), other.what) == ("a.yaml:4:23", "a number here")


@pytest.mark.parametrize("value", ["text", True, [1], [], ["a", 1]])
def test_lists_truth_values_and_texts_are_no_numbers(tmp_path: Path, value: Any) -> None:
    [problem] = load(tmp_path, a=items({"k": value}, {"k": 1})).problems
    assert problem.what == 'metadata "k" is a number here and a text elsewhere'


@pytest.mark.parametrize("value", [True, ["a"], [1], [], "2017-11-08T12:18:41Z"])
def test_texts_of_all_kinds_agree(tmp_path: Path, value: Any) -> None:
    assert told(load(tmp_path, a=items({"k": value}, {"k": "text"}))) == []


def test_nothing_is_said_where_fields_are_ignored(tmp_path: Path) -> None:
    manifest = items({"k": 1}, {"k": "a"})
    assert told(load(tmp_path, fields="ignore", a=manifest)) == []
    assert len(told(load(tmp_path, fields="create", a=manifest))) == 1


def test_every_key_is_told_once(tmp_path: Path) -> None:
    manifest = items({"k": 1, "l": "a"}, {"k": "a", "l": 1}, {"k": "b", "l": 2})
    assert [problem.what.split('"')[1] for problem in load(tmp_path, a=manifest).problems] == ["k", "l"]


def test_an_entry_in_the_form_of_the_wire(tmp_path: Path) -> None:
    text = (
        "defaults: {source: s}\nitems:\n"
        '  - {DocumentId: "x:1", Price: 3}\n'
        '  - {documentId: "x:2", data: text, metadata: {PRICE: "3"}}\n'
    )
    assert told(load(tmp_path, a=text)) == [
        'a.yaml:4:55 metadata "price" is a text here and a number elsewhere; a.yaml:3:32 a number here'
    ]


def test_rows_of_one_set(tmp_path: Path) -> None:
    """The template writes both, so the rows are named."""
    manifest = (
        "itemSets:\n"
        "  - from: {csv: rows.csv}\n"
        "    item: {uri: 'x:{id}', source: s, metadata: {price: '{row.price}', kind: plain}}\n"
        "items:\n"
        "  - {uri: 'y:1', source: s, metadata: {kind: 7}}\n"
    )
    assert told(load(tmp_path, a=manifest, rows_csv="id,price\n1,3\n2,none\n")) == [
        'a.yaml:5:46 metadata "kind" is a number here and a text elsewhere; a.yaml:3:77 a text here (rows.csv:2)'
    ]
    manifest = manifest.replace("csv", "jsonl").partition("items:\n")[0]
    rows = '{"id": 1, "price": 3}\n{"id": 2, "price": 4}\n{"id": 3, "price": "none"}\n'
    assert told(load(tmp_path, a=manifest, rows_jsonl=rows)) == [
        'a.yaml:3:56 rows.jsonl:3: metadata "price" is a text here and a number elsewhere; '
        "a.yaml:3:56 a number here (rows.jsonl:1)"
    ]


def test_the_order_of_files_carries_no_meaning_beyond_their_names(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = items({"k": 1}), items({"k": "a"}, name="y")
    assert told(load(tmp_path / "one", a=first, b=second)) == told(load(tmp_path / "two", b=second, a=first))


# -- what was read before --------------------------------------------------------------------------


def test_a_conflict_with_a_file_that_did_not_change(tmp_path: Path) -> None:
    first, second = items({"k": 1}, {"k": 2}), items({"k": 3}, name="y")
    assert told(load(tmp_path, cached=True, a=first, b=second)) == []
    assert len(told(load(tmp_path, cached=True, b=items({"k": "x"}, name="y")))) == 1
    again = told(load(tmp_path, cached=True))
    assert again == told(load(tmp_path))
    assert len(again) == 1
    assert told(load(tmp_path, cached=True, b=second)) == []


def test_an_entry_that_showed_the_type_goes(tmp_path: Path) -> None:
    before = "defaults: {source: s}\nitems:\n" + "".join(
        f"  - uri: x:{number}\n    metadata: {{k: {value}}}\n" for number, value in enumerate((1, 2.5, 3, 4, 5.5))
    )
    assert types(load(tmp_path, cached=True, a=before)) == {"s.k": "DOUBLE"}
    # Another entry shows it as well, which nobody asked before.
    assert types(load(tmp_path, cached=True, a=before.replace("2.5", "2"))) == {"s.k": "DOUBLE"}
    assert types(load(tmp_path, cached=True, a=before.replace("2.5", "2").replace("5.5", "5"))) == {"s.k": "LONG"}


def test_what_is_not_sure_says_so() -> None:
    old = [Shown("s", "k", 0, 0), Shown("s", "k", 2, 3), Shown("s", "t", 4, 0)]
    rows, sure = carried(old, [(0, 2, 5)], [Shown("s", "t", 3, 9)])
    assert (rows, sure) == ([Shown("s", "k", 0, 5), Shown("s", "t", 4, 5), Shown("s", "t", 3, 9)], False)
    assert carried(old, [(0, 4, 0)], []) == (
        [Shown("s", "k", 0, 0), Shown("s", "t", 4, 0), Shown("s", "k", 2, 3)],
        True,
    )


VALUES = st.sampled_from([1, 2**40, 1.5, "a", "2017-11-08T12:18:41Z", True, ["a"], None])
ENTRIES = st.lists(st.tuples(st.integers(0, 9), VALUES, VALUES), max_size=6, unique_by=lambda entry: entry[0])


def as_text(entries: list[tuple[int, Any, Any]]) -> str:
    lines = ["defaults: {source: s}", "items:", "  - {uri: 'x:none'}"]
    for number, one, two in entries:
        metadata = as_yaml({key: value for key, value in (("a", one), ("b", two)) if value is not None})
        lines.append(f"  - uri: x:{number}\n    metadata: {metadata.replace(chr(10), ' ')}")
    return "\n".join(lines) + "\n"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ENTRIES, min_size=2, max_size=4))
def test_what_was_read_before_never_shows(tmp_path_factory: pytest.TempPathFactory, versions: list[Any]) -> None:
    root = tmp_path_factory.mktemp("p")
    for version in versions:
        loaded = load(root, cached=True, a=as_text(version))
        anew = load(root)
        assert (told(loaded), types(loaded)) == (told(anew), types(anew))
