"""What the command line says of the emulator's sources and fields."""

from __future__ import annotations

import pytest

from reconciler.cli.emulator import _sources
from reconciler.cli.emulator_conduct import Conduct, applied
from reconciler.emulator.options import EmulatorOptions, SourceOptions
from reconciler.problems import UsageError


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("x", ("x", "SECURED", "p", "push")),
        ("x:catalog", ("x", "SECURED", "p", "catalog")),
        ("x:shared:Catalog", ("x", "SHARED", None, "catalog")),
        ("x:catalog:private", ("x", "PRIVATE", None, "catalog")),
        ("x:push", ("x", "SECURED", "p", "push")),
    ],
)
def test_a_source_may_be_a_catalog(text: str, source: tuple[str, ...]) -> None:
    assert _sources({}, [text], "p") == (source,)


def test_a_source_of_the_project_keeps_what_is_not_said_of_it() -> None:
    named = {"x": SourceOptions("x", "SHARED", "q", "catalog")}
    assert _sources(named, ["x"], "p") == (("x", "SHARED", "q", "catalog"),)
    assert _sources(named, ["x:secured"], "p") == (("x", "SECURED", "q", "catalog"),)


@pytest.mark.parametrize("text", ["x:", "x:shared:", "x:shared:secured", "x:push:catalog", "x:catalogue", "::"])
def test_other_words_of_a_source_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        _sources({}, [text], None)
    assert raised.value.problems[0].code == "bad-source"


def test_fields_may_be_strict() -> None:
    assert applied(Conduct(), EmulatorOptions()).fields == "permissive"
    assert applied(Conduct(fields="strict"), EmulatorOptions()).fields == "strict"


def test_a_cache_that_is_refreshed_now_and_then_follows_nothing_at_once() -> None:
    plain = applied(Conduct(), EmulatorOptions())
    assert (plain.refresh_every, plain.doubts.cache_view) == (0.0, "immediate")
    lazy = applied(Conduct(refresh_every=86_400.0), EmulatorOptions())
    assert (lazy.refresh_every, lazy.doubts.cache_view) == (86_400.0, "on refresh")
    answered = applied(Conduct(refresh_every=60.0, doubts=("cache_view=immediate",)), EmulatorOptions())
    assert answered.doubts.cache_view == "immediate"
