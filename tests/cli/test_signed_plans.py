"""Signed plans from outside: with a key set, only what was planned with it is applied, and the key is shown nowhere."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from reconciler.model.canonical import canonical_json
from reconciler.rendering.jsondoc import checksum
from tests.builders import Folder, Ran, Remote

MANIFEST = """
defaults: {source: handbook, provider: corp}
items:
  - {uri: "file:///alpha", title: A, permissions: {allowed: [user:alice@example.com]}}
  - {uri: "file:///beta", title: B, permissions: {allowed: [user:alice@example.com]}}
"""
VARIABLE = "RECONCILER_PLAN_KEY"
KEY, OTHER = "xx-canary-plan-key-7c1d", "xx-canary-plan-key-of-others"


@pytest.fixture
def ready(folder: Folder, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A project that was never applied, with the key set."""
    monkeypatch.setenv(VARIABLE, KEY)
    folder.at(remote).write("all.yaml", MANIFEST)
    return folder


@pytest.fixture
def refused(ready: Folder, remote: Remote) -> Callable[..., Ran]:
    """Applies a plan that is refused before anything is sent."""

    def apply(code: str, *arguments: str, exit_code: int = 1) -> Ran:
        total = remote.total
        ran = ready.ok("apply", *arguments, "--auto-approve", code=exit_code)
        assert f"error[{code}]" in ran.err
        assert remote.total == total
        return ran

    return apply


def saved(folder: Folder, name: str = "plan.json") -> Path:
    path = folder.root / name
    folder.ok("plan", "--out", str(path))
    return path


def edit(path: Path, **values: Any) -> None:
    """Change a plan's document and seal it again, as somebody without the key can."""
    document = orjson.loads(path.read_bytes()) | values
    document = {key: value for key, value in document.items() if value is not None}
    path.write_bytes(orjson.dumps(document | {"checksum": checksum(document)}))


def require(folder: Folder) -> None:
    path = folder.root / "reconciler.yaml"
    text = path.read_text()
    assert "{target:" in text
    path.write_text(text.replace("{target:", "{signedPlans: required, target:"))


def test_the_signature_is_of_the_canonical_document(ready: Folder) -> None:
    """As anybody can work it out who has the key."""
    document = orjson.loads(saved(ready).read_bytes())
    bare = canonical_json({key: value for key, value in document.items() if key not in ("signature", "checksum")})
    assert document["signature"] == hmac.new(KEY.encode(), bare, hashlib.sha256).hexdigest()


def test_a_signed_plan_is_applied_where_the_key_is_set(ready: Folder) -> None:
    ready.ok("apply", str(saved(ready)), "--auto-approve")


def test_signing_makes_no_other_plan(ready: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown as JSON it is unsigned, and its checksum is the same: a run knows it by that."""
    signed = orjson.loads(saved(ready).read_bytes())
    assert {key: value for key, value in signed.items() if key != "signature"} == ready.ok(
        "plan", "--format", "json"
    ).json
    monkeypatch.delenv(VARIABLE)
    ready.ok("apply", str(ready.root / "plan.json"), "--auto-approve")


def test_an_unsigned_plan_is_refused_where_the_key_is_set(
    ready: Folder, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    path = saved(ready)
    assert "signature" not in orjson.loads(path.read_bytes())
    monkeypatch.setenv(VARIABLE, KEY)
    refused("plan-unsigned", str(path))
    path = saved(ready)
    edit(path, signature=None)
    refused("plan-unsigned", str(path))


@pytest.mark.parametrize(
    "changed",
    [
        {"no_such_key": 1},
        {"tool_version": "0.0.0"},
        {"hazards": []},
        {"signature": "0" * 64},
        {"signature": ""},
        {"signature": "é"},
        {"signature": ["x"]},
        {"signature": 7},
    ],
)
def test_an_altered_plan_is_refused_though_it_was_sealed_again(
    ready: Folder, refused: Callable[..., Ran], changed: dict[str, Any]
) -> None:
    ready.ok("apply", "--auto-approve")
    ready.write("all.yaml", "items: []\n")
    path = saved(ready)
    assert [hazard["name"] for hazard in orjson.loads(path.read_bytes())["hazards"]] == ["emptied"]
    edit(path, **changed)
    refused("plan-signature", str(path))


def test_a_plan_that_was_signed_with_another_key_is_refused(
    ready: Folder, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(ready)
    monkeypatch.setenv(VARIABLE, OTHER)
    refused("plan-signature", str(path))


def test_a_plan_of_the_way_back_is_signed_too(
    ready: Folder, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.ok("apply", "--auto-approve")
    ready.write("all.yaml", MANIFEST.replace("[user:alice@example.com]", "[user:dora@example.com]", 1))
    ready.ok("apply", "--auto-approve", "--allow", "item-unseen")
    path = ready.root / "back.json"
    ready.ok("rollback", "--access-only", "--out", str(path))
    monkeypatch.setenv(VARIABLE, OTHER)
    refused("plan-signature", str(path))
    monkeypatch.setenv(VARIABLE, KEY)
    ready.ok("apply", str(path), "--auto-approve")


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_a_key_that_did_not_arrive_is_not_one_that_is_not_wanted(
    ready: Folder, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, empty: str
) -> None:
    path = saved(ready)
    monkeypatch.setenv(VARIABLE, empty)
    refused("plan-key-unusable", str(path), exit_code=2)
    assert "error[plan-key-unusable]" in ready.ok("plan", "--out", str(path), code=2).err
    ready.ok("plan")


def test_white_space_around_a_key_is_none_of_it(ready: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(ready)
    monkeypatch.setenv(VARIABLE, f"{KEY}\n")
    ready.ok("apply", str(path), "--auto-approve")


def test_an_environment_that_takes_only_signed_plans(
    ready: Folder, refused: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    require(ready)
    path, unsigned = saved(ready), ready.root / "unsigned.json"
    monkeypatch.delenv(VARIABLE)
    ready.ok("plan", "--out", str(unsigned))
    refused("plan-unsigned", str(unsigned))
    refused("plan-key-needed", str(path), exit_code=2)
    refused("plan-unsigned")
    assert "error[plan-unsigned]" in ready.ok("destroy", "--auto-approve", code=1).err
    monkeypatch.setenv(VARIABLE, KEY)
    refused("plan-unsigned")
    ready.ok("apply", str(path), "--auto-approve")


def test_the_key_is_in_no_output_and_in_no_file(ready: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_DEBUG", "1")
    path, other = saved(ready), saved(ready, "other.json")
    edit(other, tool_version="0.0.0")
    said = [
        ready.run("show", str(path)),
        ready.run("apply", str(other), "--auto-approve"),
        ready.run("apply", str(path), "--auto-approve", "--format", "json"),
        ready.run("apply", str(path), "--auto-approve"),
        ready.run("plan", "--format", "json"),
    ]
    monkeypatch.setenv(VARIABLE, OTHER)
    said.append(ready.run("apply", str(path), "--auto-approve"))
    assert [ran.code for ran in said] == [0, 1, 0, 1, 0, 1]
    assert not any(key in ran.out + ran.err for ran in said for key in (KEY, OTHER))
    files = [file for file in ready.root.rglob("*") if file.is_file()]
    assert path in files
    assert not any(key.encode() in file.read_bytes() for file in files for key in (KEY, OTHER))
