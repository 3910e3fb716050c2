"""A plan's verdict on access tests is that of `reconciler test`, test by test."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import Folder, as_yaml

ITEMS = """
defaults: {source: handbook, provider: corp}
items:
  - uri: x:/a/1
    permissions: {allowed: [group:Team], denied: [user:bob@x.org]}
    metadata: {rank: secret, tags: [hr, pay]}
  - {uri: x:/a/2, permissions: {allowed: [group:Team]}, metadata: {rank: open}}
  - {uri: x:/a/b/3, permissions: {levels: [[{allowed: [group:Inner]}], [{allowed: [user:bob@x.org]}]]}}
  - {uri: x:/ghost, permissions: {allowed: [group:Team], denied: [user:ghost@x.org]}}
  - {uri: "y:/post", source: blog, title: Post}
groups:
  - {name: Team, members: [user:alice@x.org, user:bob@x.org, group:Inner]}
  - {name: Inner, members: [user:carol@x.org]}
"""

WHO = st.sampled_from(["user:alice@x.org", "user:bob@x.org", "user:*", "group:Team", "group:In*", "user:new@x.org"])
PATTERNS = st.lists(st.sampled_from(["x:/a/1", "x:/a/*", "x:/**", "**", "y:/*", "z:*", "item/blog/**"]), max_size=2)
WHERE = st.sampled_from([None, None, {"rank": "secret"}, {"tags": "pay"}, {"tags": ["hr", "pay"], "rank": "open"}])


@st.composite
def access_tests(draw: st.DrawFn) -> dict[str, Any]:
    """An access test of either form."""
    test: dict[str, Any]
    if draw(st.booleans()):
        test = {"onlyVisibleTo": draw(st.lists(WHO, max_size=2)), "items": draw(PATTERNS) or ["**"]}
    else:
        test = {"who": draw(st.lists(WHO, min_size=1, max_size=2)), "canView": draw(PATTERNS) or ["x:/a/2"]}
        test["cannotView"] = draw(PATTERNS)
    where = draw(WHERE)
    return test if where is None else {**test, "where": where}


@given(st.lists(access_tests(), min_size=1, max_size=4))
@settings(max_examples=40)
def test_a_plan_fails_the_tests_that_the_command_fails(drawn: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as place:
        folder = Folder(Path(place) / "project")
        folder.write("all.yaml", ITEMS)
        folder.write("tests.yaml", as_yaml({"defaults": {"provider": "corp"}, "accessTests": drawn}))
        ran, planned = folder.run("test", "--format", "json"), folder.run("plan", "--format", "json")
    assert (ran.code, planned.code) in ((0, 0), (1, 1))
    failed = [entry for entry in ran.json["tests"] if not entry["passed"]]
    problems = [entry for entry in planned.json["problems"] if entry["code"] == "access-test-failed"]
    assert [(entry["file"], entry["line"]) for entry in problems] == [(each["file"], each["line"]) for each in failed]
    assert planned.json["access"]["tests"] == {"run": len(drawn), "failed": len(failed)}
    for problem, each in zip(problems, failed, strict=True):
        assert problem["what"].startswith(each["failures"][0]["message"])
