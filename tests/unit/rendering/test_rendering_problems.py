"""Problems as text, JSON and SARIF."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from reconciler.problems import Position, Problem, Related, Severity
from reconciler.rendering import problems as rendering
from reconciler.rendering.problems import render_problems, render_problems_json, render_sarif

UNKNOWN_GROUP = Problem(
    "unknown-group",
    'permission set allows group "hr-mangers", which no manifest declares',
    why="a name the provider does not know resolves to nobody, so the item would be hidden from the people it is for.",
    fix='did you mean "hr-managers" (manifests/groups.yaml:3:5)?',
    position=Position("manifests/hr/handbook.yaml", 14, 18, 10),
    excerpt="        - group: hr-mangers",
    related=(Related(Position("manifests/groups.yaml", 3, 5), "the near one is declared here"),),
)
STALE = Problem(
    "stale-plan",
    'the plan in "plan.json" was made from serial 41',
    why="someone applied in between; running these calls could undo their changes.",
    fix="make and review a new plan:\n    reconciler plan --out plan.json",
    where=".reconciler/prod.state.db (serial 43)",
)
WARNING = Problem(
    "no-content",
    'item "file://a" has no body',
    position=Position("manifests/hr/handbook.yaml", 2, 3),
    severity=Severity.WARNING,
)
HOSTILE = Problem(
    "odd-key",
    "key \x1b[31m[x](http://e) {0}\nforged.yaml:1:1: error[x]: y",
    fix="a\n    \x1b]0;title\x07",
    position=Position("we ird/ma#ni%fest.yaml", 1, 5, 4),
    excerpt="\t日本\x1b\u202ekey: 1",
)

GOLDEN = """\
.reconciler/prod.state.db (serial 43): error[stale-plan]: the plan in "plan.json" was made from serial 41
  why: someone applied in between; running these calls could undo their changes.
  fix: make and review a new plan:
      reconciler plan --out plan.json

manifests/hr/handbook.yaml:2:3: warning[no-content]: item "file://a" has no body

manifests/hr/handbook.yaml:14:18: error[unknown-group]: permission set allows group "hr-mangers", which no manifest declares
   14 |         - group: hr-mangers
      |                  ^^^^^^^^^^
  see: manifests/groups.yaml:3:5: the near one is declared here
  why: a name the provider does not know resolves to nobody, so the item would be hidden from the people it is for.
  fix: did you mean "hr-managers" (manifests/groups.yaml:3:5)?

2 errors, 1 warning.
"""  # noqa: E501


def test_text() -> None:
    problems = [UNKNOWN_GROUP, WARNING, STALE]
    for seed in range(4):
        random.Random(seed).shuffle(problems)
        assert render_problems(problems) == GOLDEN


def test_no_problem_is_counted_too() -> None:
    assert render_problems([]) == "0 errors, 0 warnings.\n"


def test_hostile_text() -> None:
    assert render_problems([HOSTILE]) == (
        "we ird/ma#ni%fest.yaml:1:5: error[odd-key]: key \\x1b[31m[x](http://e) {0}\\nforged.yaml:1:1: error[x]: y\n"
        "    1 | \\t日本\\x1b\\u202ekey: 1\n"
        "      |           ^^^^^^^^^\n"
        "  fix: a\n"
        "      \\x1b]0;title\\x07\n"
        "\n"
        "1 error, 0 warnings.\n"
    )


def test_the_caret_is_seen_on_a_long_line() -> None:
    problem = Problem("c", "w", position=Position("f", 12, 5001, 3), excerpt="a" * 5000 + "XYZ" + "b" * 5000)
    _, line, caret, *_ = render_problems([problem]).splitlines()
    assert len(line) < 200
    assert line[caret.index("^") : caret.rindex("^") + 1] == "XYZ"


def test_colour_adds_nothing_but_escapes() -> None:
    import re

    painted = render_problems([UNKNOWN_GROUP, WARNING, STALE], color=True)
    assert painted != GOLDEN
    assert re.sub(r"\x1b\[[0-9]+m", "", painted) == GOLDEN


def test_json() -> None:
    document = orjson.loads(render_problems_json([UNKNOWN_GROUP, WARNING, STALE]))
    assert list(document) == ["format_version", "problems", "summary"]
    assert document["summary"] == {"errors": 2, "warnings": 1}
    assert document["problems"][1] == {
        "code": "no-content",
        "severity": "warning",
        "what": 'item "file://a" has no body',
        "why": "",
        "fix": "",
        "where": "",
        "file": "manifests/hr/handbook.yaml",
        "line": 2,
        "column": 3,
        "length": 1,
        "related": [],
    }


def test_sarif(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "__version__", "1.2.3")
    log = orjson.loads(render_sarif([UNKNOWN_GROUP, WARNING, STALE], folder="search/"))
    run = log["runs"][0]
    assert (log["version"], run["columnKind"]) == ("2.1.0", "unicodeCodePoints")
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("reconciler", "1.2.3")
    assert [(rule["id"], rule["defaultConfiguration"]["level"]) for rule in driver["rules"]] == [
        ("no-content", "warning"),
        ("stale-plan", "error"),
        ("unknown-group", "error"),
    ]
    stale, warning, unknown = run["results"]
    assert stale["locations"] == [
        {"logicalLocations": [{"fullyQualifiedName": ".reconciler/prod.state.db (serial 43)"}]}
    ]
    assert warning["level"] == "warning"
    assert unknown["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "search/manifests/hr/handbook.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 14, "startColumn": 18, "endColumn": 28},
    }
    assert unknown["relatedLocations"][0]["message"] == {"text": "the near one is declared here"}
    check_structure(log)


def test_hostile_sarif() -> None:
    log = orjson.loads(render_sarif([HOSTILE]))
    (result,) = log["runs"][0]["results"]
    assert result["message"]["text"].startswith("key \\x1b\\[31m\\[x\\](http://e) {{0}}\\nforged")
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "we%20ird/ma%23ni%25fest.yaml"
    check_structure(log)


def check_structure(log: dict[str, Any]) -> None:
    """What the SARIF 2.1.0 schema requires of the parts that we write."""
    assert set(log) == {"$schema", "version", "runs"}
    for run in log["runs"]:
        assert set(run) == {"tool", "columnKind", "results"}
        rules = run["tool"]["driver"]["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)
        for rule in rules:
            assert rule["shortDescription"]["text"]
        for result in run["results"]:
            assert result["message"]["text"]
            assert result["level"] in {"none", "note", "warning", "error"}
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            for location in (*result.get("locations", ()), *result.get("relatedLocations", ())):
                region = location.get("physicalLocation", {}).get("region", {"startLine": 1, "startColumn": 1})
                assert region["startLine"] >= 1
                assert region["startColumn"] >= 1
                assert region.get("endColumn", 2) > region["startColumn"]
