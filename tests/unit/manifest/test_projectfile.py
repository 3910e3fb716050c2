"""The sections of reconciler.yaml -> the project of one environment."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from reconciler.manifest.project import ApiKey, Environment, Exemption, Guardrails, Project, Provider, Source
from reconciler.manifest.projectfile import resolve
from reconciler.manifest.schema import ProjectSections
from reconciler.problems import UsageError

FULL = {
    "manifests": ["m/*.yaml"],
    "sources": {"b": {"id": "b1", "visibility": "shared"}, "a": {"id": "a1", "provider": "q"}},
    "providers": {"q": {"id": "q1", "cascadesTo": ["Email"]}, "p": {"id": "p1"}},
    "vars": {"base": "x", "n": 1, "yes": True, "f": 1.5},
    "guardrails": {"deletes": "5%", "maxChanges": 9},
    "environments": {
        "local": {"target": "emulator"},
        "prod": {
            "organization": "org",
            "region": "eu",
            "apiKey": {"command": ["pass", "key"]},
            "state": "s/prod.db",
            "sources": {"a": {"id": "a2", "visibility": "private"}},
            "providers": {"q": {"cascadesTo": []}, "p": {"id": "p2"}},
            "vars": {"base": "y"},
            "guardrails": {"deletes": "0%", "updates": "12.5%"},
        },
    },
}


def project(
    values: dict[str, object], environment: str | None = None
) -> tuple[Project, list[tuple[tuple[str | int, ...], str]]]:
    found, doubts = resolve(ProjectSections.model_validate(values), environment)
    return found, [(doubt.path, doubt.problem.code) for doubt in doubts]


def test_nothing_said_is_the_embedded_emulator() -> None:
    assert project({}) == (
        Project(
            environment=Environment(
                "local", "emulator", "local", ".reconciler/local.state.db", "us", ApiKey("COVEO_API_KEY")
            ),
            manifests=("**/*.yaml", "**/*.yml"),
            sources=(),
            providers=(),
            guardrails=Guardrails(0.1, None, None),
        ),
        [],
    )


def test_an_environment_overrides_the_project() -> None:
    assert project(FULL, "prod") == (
        Project(
            environment=Environment("prod", "", "org", "s/prod.db", "eu", ApiKey(command=("pass", "key"))),
            manifests=("m/*.yaml",),
            sources=(Source("a", "a2", "private", "q"), Source("b", "b1", "shared", None)),
            providers=(Provider("p", "p2", ()), Provider("q", "q1", ())),
            variables=(("base", "y"), ("f", "1.5"), ("n", "1"), ("yes", "true")),
            guardrails=Guardrails(0.0, 0.125, 9),
        ),
        [],
    )
    assert project(FULL)[0].variables == (("base", "x"), ("f", "1.5"), ("n", "1"), ("yes", "true"))


def test_widened_access_is_a_word_or_a_mode_with_exceptions() -> None:
    def guardrails(spec: object, own: object = None) -> Guardrails:
        there = {} if own is None else {"guardrails": own}
        environments = {"local": {"target": "emulator", **there}}
        return project({"guardrails": spec, "environments": environments})[0].guardrails

    full = {
        "mode": "deny",
        "except": [{"items": ["a*"], "to": ["user:*", "everybody"], "provider": "p"}, {"to": ["*"]}, {"items": ["b"]}],
    }
    exceptions = (Exemption(("a*",), ("user:*", "*"), "p"), Exemption(None, ("*",)), Exemption(("b",), None))
    assert guardrails({}) == Guardrails(widened_access="confirm")
    assert guardrails({"widenedAccess": "deny"}) == Guardrails(widened_access="deny")
    assert guardrails({"widenedAccess": full}) == Guardrails(widened_access="deny", widened_except=exceptions)
    assert guardrails({"widenedAccess": {"except": []}}) == Guardrails()
    assert guardrails({"maxWidened": {"people": 3}}) == Guardrails(max_widened_people=3)
    both = {"widenedAccess": full, "maxWidened": {"people": 3, "items": 4}}
    assert guardrails(both, {"widenedAccess": "allow"}) == Guardrails(
        widened_access="allow", max_widened_people=3, max_widened_items=4
    )
    assert guardrails(both, {"maxWidened": {"items": 9}}) == Guardrails(
        widened_access="deny", widened_except=exceptions, max_widened_items=9
    )


@pytest.mark.parametrize(
    "exception",
    [{}, {"provider": "p"}, {"items": []}, {"to": []}, {"items": [], "to": ["*"]}, {"items": ["x"], "to": None}],
)
def test_an_exception_of_nothing_in_particular_is_refused(exception: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"give items, to, or both|leave out a list"):
        project({"guardrails": {"widenedAccess": {"except": [exception]}}})


def test_which_environment() -> None:
    one = {"environments": {"test": {"target": "emulator"}}}
    assert project(one)[0].environment.name == "test"
    two = {"environments": {"test": {"target": "emulator"}, "prod": {"organization": "o"}}}
    for name, code in ((None, "environment-needed"), ("prd", "unknown-environment")):
        with pytest.raises(UsageError) as caught:
            project(two, name)
        assert caught.value.problems[0].code == code


def test_the_only_provider_is_that_of_every_source() -> None:
    found, _ = project({"sources": {"a": {"id": "1"}}, "providers": {"p": {"id": "2"}}})
    assert found.sources == (Source("a", "1", "secured", "p"),)


def test_doubts() -> None:
    values = {
        "manifests": ["ok/*.yaml", "/etc/*", "a\\b"],
        "sources": {"a": {"id": "1", "provider": "nope"}, "b": {"id": "1"}},
        "providers": {"p": {"id": "2", "cascadesTo": ["fine", "a/b"]}},
        "environments": {
            "local": {
                "state": "mysql://host/db",
                "sources": {"c": {"id": "3"}},
                "providers": {"z": {}, "p": {"cascadesTo": ["x/y"]}},
            }
        },
    }
    assert project(values)[1] == [
        (("sources", "a", "provider"), "unknown-provider"),
        (("environments", "local", "sources", "c"), "unknown-source"),
        (("environments", "local", "providers", "z"), "unknown-provider"),
        (("environments", "local"), "organization-needed"),
        (("manifests", 1), "path-outside"),
        (("manifests", 2), "bad-pattern"),
        (("environments", "local", "state"), "state-store"),
        (("providers", "p", "cascadesTo", 1), "bad-name"),
        (("environments", "local", "providers", "p", "cascadesTo", 0), "bad-name"),
        (("sources", "b", "id"), "repeated-id"),
    ]


@pytest.mark.parametrize("state", ["/var/state.db", "../state.db", "a/../../b", "~/x.db", "C:\\x.db", "a\\..\\..\\b"])
def test_a_state_stays_in_the_project(state: str) -> None:
    values = {"environments": {"local": {"target": "emulator", "state": state}}}
    assert project(values)[1] == [(("environments", "local", "state"), "path-outside")]


def test_an_environment_may_say_what_its_sources_and_providers_are() -> None:
    values = {
        "sources": {
            "shop": {"id": "s", "kind": "catalog", "exclusive": True, "compression": "GZIP", "status": False},
            "wiki": {"id": "w"},
        },
        "providers": {"corp": {"id": "p", "exclusive": True}},
        "environments": {
            "prod": {"organization": "org"},
            "trial": {
                "organization": "trial",
                "sources": {"shop": {"kind": "push", "exclusive": False}, "wiki": {"exclusive": True}},
                "providers": {"corp": {"exclusive": False}},
            },
        },
    }
    prod, trial = project(values, "prod")[0], project(values, "trial")[0]

    shop = Source("shop", "s", "secured", "corp", "catalog", True, "GZIP", False)
    assert prod.source("shop") == shop
    assert trial.source("shop") == replace(shop, kind="push", exclusive=False)
    assert [found.sources[1].exclusive for found in (prod, trial)] == [False, True]
    assert [found.providers[0].exclusive for found in (prod, trial)] == [True, False]


@pytest.mark.parametrize(
    ("target", "codes"),
    [
        ("emulator", []),
        ("http://127.0.0.1:8080", []),
        ("https://api.example.com/push/v1", []),
        ("emulatr", ["bad-target"]),
        ("api.example.com", ["bad-target"]),
        ("ftp://api.example.com", ["bad-target"]),
        ("https://api.example.com:port", ["bad-target"]),
        ("https://user:word@api.example.com", ["secret-in-manifest"]),
    ],
)
def test_a_target_is_the_emulator_or_a_web_address(target: str, codes: list[str]) -> None:
    _, doubts = project({"environments": {"local": {"organization": "o", "target": target}}})
    assert doubts == [(("environments", "local", "target"), code) for code in codes]
