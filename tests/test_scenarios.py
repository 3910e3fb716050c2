"""Scenarios: a project before and after, and the plan, the calls and the contents that come of it.

Each folder of `scenarios/` holds `manifests-after/`, where something was applied before it
`manifests-before/`, the goldens `plan.txt`, `plan.json` and `calls.json`, and `expect.yaml`:

    says: what it shows
    summary: {create: 0, update: 1, delete: 0, no_op: 2}
    flags: [--no-batch]       given to plan and apply alike
    refused: protected        the code with which apply refuses; then nothing is sent
    then: [--allow, x]        the flags with which it goes through after all
    needs: [pyarrow]          modules without which the scenario is skipped
    generate: {path: bytes}   files that are made, not kept

A folder may have a `reconciler.yaml` of its own. `documents.json`, where there is one, holds the requests
of the public documentation. After every scenario planning again finds nothing, and the remote holds the
desired state and nothing else.
Write goldens with `pytest --update-golden`, and read the difference.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml_rs

from reconciler.cli.session import open_session
from reconciler.planfile import load_plan
from reconciler.rendering.plan_schema import plan_schema
from tests.builders import Folder, Ran, Remote, contents_of

SCHEMA = jsonschema.Draft202012Validator(plan_schema())
SCENARIOS = Path(__file__).parent / "scenarios"
NAMES = sorted(path.name for path in SCENARIOS.iterdir() if (path / "expect.yaml").exists())
SEEDS = {
    "000": "pushing-secured-items",
    "001": "push-api-usage-example",
    "002": "pushing-items",
    "003": "using-the-push-api",
    "004": "pushing-large-items",
}
LONG = 300


@dataclass
class Expectation:
    says: str
    summary: dict[str, int]
    flags: list[str] = field(default_factory=list)
    refused: str | None = None
    then: list[str] | None = None
    needs: list[str] = field(default_factory=list)
    generate: dict[str, int] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lineages and run ids are random; here they count."""
    numbers = iter(range(1, 1000))

    class Counted:
        def __init__(self) -> None:
            self.hex = f"{next(numbers):012x}".ljust(32, "0")

        def __str__(self) -> str:
            return f"00000000-0000-4000-8000-{self.hex[:12]}"

    monkeypatch.setattr("reconciler.cli.applying.uuid", SimpleNamespace(uuid4=Counted))
    monkeypatch.setattr("reconciler.cli.applying.take_run", lambda: Counted().hex[:12])


def prepared(name: str, folder: Folder, remote: Remote) -> tuple[Path, Expectation]:
    place = SCENARIOS / name
    expected = Expectation(**yaml_rs.loads((place / "expect.yaml").read_text()))
    for module in expected.needs:
        pytest.importorskip(module)
    own = place / "reconciler.yaml"
    folder.write("reconciler.yaml", (own if own.exists() else SCENARIOS / "reconciler.yaml").read_text())
    folder.at(remote)
    return place, expected


def put_manifests(place: Path, folder: Folder, expected: Expectation) -> None:
    """Make the project's manifests those of `place`, and no others."""
    for path in folder.root.iterdir():
        if path.name not in ("reconciler.yaml", ".reconciler"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(place, folder.root, dirs_exist_ok=True)
    for name, size in expected.generate.items():
        folder.write(name, random.Random(name).randbytes(size))


@pytest.mark.parametrize("name", NAMES)
def test_scenario(name: str, folder: Folder, remote: Remote, request: pytest.FixtureRequest) -> None:
    place, expected = prepared(name, folder, remote)
    golden = Golden(place, update=request.config.getoption("--update-golden"))
    if (place / "manifests-before").exists():
        put_manifests(place / "manifests-before", folder, expected)
        folder.ok("apply", "--auto-approve")
    put_manifests(place / "manifests-after", folder, expected)
    sent = remote.total

    refused = expected.refused is not None and expected.then is None
    text = folder.ok("plan", *expected.flags, "--detail", "full", code=1 if expected.refused == "protected" else 0)
    document = folder.run("plan", *expected.flags, "--format", "json")
    golden.check("plan.txt", text.out)
    golden.check("plan.json", _without_version(document.out))
    assert document.json["summary"] == expected.summary
    load_plan(document.out.encode(), "plan.json")
    SCHEMA.validate(document.json)
    assert remote.total == sent, "planning speaks to nobody"

    if expected.refused is not None:
        ran = folder.ok("apply", "--auto-approve", *expected.flags, code=1)
        assert f"error[{expected.refused}]" in ran.err
        assert remote.total == sent, "what is refused sends nothing"
    if refused:
        golden.check("calls.json", "[]\n")
        return
    # One call at a time: those that may go side by side would arrive in any order.
    folder.ok("apply", "--auto-approve", "--parallelism", "1", *expected.flags, *(expected.then or ()))
    golden.check("calls.json", _pretty([_described(entry) for entry in _numbered(remote.requests(sent))]))
    assert_settled(folder, remote)


def assert_settled(folder: Folder, remote: Remote) -> None:
    """The remote holds the desired state, the plan is empty, and applying again sends nothing."""
    assert remote.contents() == contents_of(_desired(folder).values())
    assert remote.logs() == []
    total = remote.total
    again: Ran = folder.ok("plan", "--exit-code", "--no-cache")
    assert "No changes." in again.out
    assert folder.ok("apply", "--auto-approve").err == ""
    assert remote.total == total


def _desired(folder: Folder) -> dict[str, Any]:
    from reconciler.cli.makeplan import make_project_plan
    from reconciler.planning.make import Wish

    with open_session(str(folder.root), None, use_cache=False) as session:
        loaded = make_project_plan(session, Wish()).loaded
        assert loaded is not None
        return loaded.resources(loaded.desired.fingerprints)


# -- the requests of the documentation -------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if (SCENARIOS / name / "documents.json").exists()])
def test_single_calls_are_the_requests_of_the_documents(name: str, folder: Folder, remote: Remote) -> None:
    """Path, query (beside the ordering id and the default compression) and body, up to the case of keys."""
    place, expected = prepared(name, folder, remote)
    put_manifests(place / "manifests-after", folder, expected)
    folder.ok("apply", "--auto-approve", "--no-batch")

    received = [_as_documented(entry["method"], entry["path"], entry["query"], entry["body"]) for entry in _all(remote)]

    assert _in_order(_like(_documents(place), received)) == _in_order(_documents(place))


@pytest.mark.parametrize("name", [name for name in NAMES if (SCENARIOS / name / "documents.json").exists()])
def test_entries_of_batches_are_the_bodies_of_the_documents(name: str, folder: Folder, remote: Remote) -> None:
    place, expected = prepared(name, folder, remote)
    put_manifests(place / "manifests-after", folder, expected)
    folder.ok("apply", "--auto-approve")

    received = [entry for request in _all(remote) for entry in _entries(request)]

    assert _in_order(_like(_documents(place), received)) == _in_order(_documents(place))


def test_every_seed_has_its_scenario() -> None:
    assert {name[:3]: name[4:] for name in NAMES if name[0] == "0"} == SEEDS


def _documents(place: Path) -> list[dict[str, Any]]:
    return [_folded(entry) for entry in json.loads((place / "documents.json").read_text())]


def _all(remote: Remote) -> list[dict[str, Any]]:
    """Return the calls that change something: containers and the activity of sources do not."""
    aside = ("/files", "/status")
    requests = [entry for entry in remote.requests() if "/_storage" not in entry["path"]]
    return [entry for entry in requests if not entry["path"].endswith(aside)]


def _as_documented(method: str, path: str, query: list[list[str]], body: Any) -> dict[str, Any]:
    """Return a request without what we say although it is the default, or what no document can know."""
    left_out = {("compressionType", "ZLIB")}
    pairs = {key: value for key, value in query if key != "orderingId" and (key, value) not in left_out}
    return _folded({"method": method, "path": path, "query": pairs, "body": _readable(body)})


def _entries(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a batch's entries as the single calls that they stand for."""
    container = request["container"]
    if container is None:
        body = request["body"]
        return [] if body is None else [_as_documented(request["method"], request["path"], request["query"], body)]
    path = request["path"].removesuffix("/batch")
    found = []
    for entry in container.get("addOrUpdate", ()):
        rest = {key: value for key, value in entry.items() if key not in ("documentId", "compressionType")}
        assert entry.get("compressionType", "ZLIB") == "ZLIB"
        found.append(_as_documented("PUT", path, [["documentId", entry["documentId"]]], rest))
    for entry in container.get("members", ()):
        found.append(_as_documented("PUT", path, [], entry))
    for entry in container.get("mappings", ()):
        found.append(_as_documented("PUT", path.replace("/permissions", "/mappings"), [], entry))
    return found


def _like(documents: list[dict[str, Any]], received: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was received, without the permanent ids that we add where the document has none."""
    documented = [entry["query"] for entry in documents if "permanentid" in entry["body"]]
    for entry in received:
        if entry["query"] not in documented:
            assert len(entry["body"].pop("permanentid", "0" * 60)) == 60
    return received


def _folded(value: Any) -> Any:
    """Return a value with all keys of objects in lower case."""
    if isinstance(value, dict):
        return {key.lower(): _folded(entry) for key, entry in value.items()}
    return [_folded(entry) for entry in value] if isinstance(value, list) else value


def _in_order(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(requests, key=lambda entry: json.dumps(entry, sort_keys=True))


# -- goldens ---------------------------------------------------------------------------------------


class Golden:
    def __init__(self, place: Path, *, update: bool) -> None:
        self._place = place
        self._update = update

    def check(self, name: str, text: str) -> None:
        path = self._place / name
        if self._update:
            path.write_text(text, encoding="utf-8")
        assert text == (path.read_text(encoding="utf-8") if path.exists() else f"no golden {path}; --update-golden")


def _without_version(text: str) -> str:
    """Return a plan's JSON without the version of the tool and the checksum over it, pretty enough to read."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(('"tool_version"', '"checksum"'))]
    return "\n".join(lines) + "\n"


def _numbered(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return requests with the values that differ from run to run replaced by their rank."""
    ranks: dict[str, dict[str, str]] = {"orderingId": {}, "fileId": {}}
    for entry in requests:
        pairs = []
        for key, value in entry["query"]:
            if key in ranks:
                value = ranks[key].setdefault(value, f"<{key} {len(ranks[key]) + 1}>")
            pairs.append(f"{key}={value}")
        if "/_storage/" in entry["path"]:
            entry["path"], pairs = "/_storage/<container>", []
        entry["query"] = pairs
    return requests


def _described(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {key: entry[key] for key in ("method", "path", "query", "status")}
    for key in ("body", "container"):
        if entry[key] is not None:
            kept[key] = _readable(entry[key])
    return kept


def _readable(value: Any, key: str = "") -> Any:
    """Return a body with its content decoded: what compression makes of it differs between builds of zlib."""
    if isinstance(value, dict):
        return {name: _readable(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [_readable(entry) for entry in value]
    if key == "compressedBinaryData":
        content = zlib.decompress(base64.b64decode(value, validate=True))
        try:
            shown = content.decode() if len(content) <= LONG else ""
        except UnicodeDecodeError:
            shown = ""
        shown = shown or f"{len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}"
        return f"<ZLIB in base64: {shown}>"
    return "<container>" if key.lower() == "compressedbinarydatafileid" else value


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
