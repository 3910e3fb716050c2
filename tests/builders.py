"""Short makers for tests: project folders, an emulated remote, and what it should hold.

`contents_of` says independently of `calls.wire` what the remote holds when it has taken a desired
state, so that one misreading is not tested against itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import orjson

from reconciler.cli.main import run
from reconciler.emulator.door import Hooks
from reconciler.emulator.options import EmulatorOptions, ProviderOptions, SourceOptions
from reconciler.emulator.server import BackgroundEmulator
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json, permanent_id
from reconciler.model.identity import parse_identity
from reconciler.model.states import Resource

REPOSITORY = Path(__file__).parents[1]
ORGANIZATION = "mycoveocloudv2organizationg8tp8wu3"
SOURCE_ID = "mysourceidg3c5d1r2"
SHARED_ID = "mysourceidb10g"
CATALOG_ID = "mysourceidca7a10g"
PROVIDER_ID = "mysecurityidentityprovider8d9s8d"
EMAIL = "Email Security Provider"
KEY = "xx-canary-5f2c9d1e-never-shown"
KEY_VARIABLE = "COVEO_API_KEY"

PROJECT = f"""\
sources:
  handbook: {{id: {SOURCE_ID}, visibility: secured, provider: corp}}
  blog: {{id: {SHARED_ID}, visibility: shared}}
providers:
  corp: {{id: {PROVIDER_ID}, cascadesTo: ["{EMAIL}"]}}
environments:
  local: {{target: emulator, organization: {ORGANIZATION}}}
guardrails: {{deletes: 100%, widenedAccess: allow}}
"""

OPTIONS = EmulatorOptions(
    organizations=(ORGANIZATION,),
    sources=(
        SourceOptions(SOURCE_ID, "SECURED", PROVIDER_ID),
        SourceOptions(SHARED_ID, "SHARED"),
        SourceOptions(CATALOG_ID, "SHARED", kind="catalog"),
    ),
    providers=(ProviderOptions(PROVIDER_ID),),
    api_key=KEY,
)


# -- projects and commands -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Folder:
    """A project's folder: `write` files, `run` commands on it in this process or as one of their own."""

    def __init__(self, root: Path, project: str = PROJECT) -> None:
        self.root = root
        self.write("reconciler.yaml", project)

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file; folders on the way are made."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def at(self, remote: Remote | str) -> Folder:
        """Point the environment `local` at an address instead of the embedded emulator."""
        url = remote if isinstance(remote, str) else remote.url
        path = self.root / "reconciler.yaml"
        path.write_text(path.read_text().replace("target: emulator", f"target: {url}"))
        return self

    def run(self, *arguments: str, key: str | None = KEY) -> Ran:
        """Run a command in this process, away from any terminal."""
        return run_here("-C", str(self.root), *arguments, key=key)

    def ok(self, *arguments: str, code: int = 0) -> Ran:
        """Run a command that is to end with `code`."""
        ran = self.run(*arguments)
        assert ran.code == code, f"exit code {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        return subprocess.Popen(
            command_line("-C", str(self.root), *arguments),
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )


def run_here(*arguments: str, key: str | None = KEY) -> Ran:
    """Run a command line in this process; stdout and stderr apart, no terminal."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    environment = {KEY_VARIABLE: key} if key is not None else {}
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["reconciler", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = run(list(arguments))
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return Ran(code, *texts)


def command_line(*arguments: str) -> list[str]:
    """Return the command line of a process that runs the reconciler under test."""
    return [sys.executable, "-W", "error", "-m", "reconciler.cli.main", *arguments]


def child_environment(**changes: str) -> dict[str, str]:
    """Return the environment of such a process."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), KEY_VARIABLE: KEY, **changes}


def as_yaml(value: Any) -> str:
    """Return a manifest; JSON is YAML 1.2."""
    return json.dumps(value, ensure_ascii=False, indent=1)


# -- the remote ------------------------------------------------------------------------------------


class Remote:
    """An emulator and what it can be asked."""

    def __init__(self, emulator: BackgroundEmulator) -> None:
        self.emulator = emulator
        self.url = emulator.url
        self._client = httpx.Client(base_url=emulator.url, trust_env=False)

    def reset(self) -> None:
        self._client.post("/_emulator/reset").raise_for_status()

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the requests of the Push API and the uploads, in order of arrival."""
        return list(self._get("requests", since=since)["requests"])

    @property
    def total(self) -> int:
        """How many requests it has ever got."""
        return int(self._get("requests", since=10**9)["total"])

    def flush(self) -> None:
        """Have all that waits processed, whenever it is due."""
        self._client.post("/_emulator/flush").raise_for_status()

    def contents(self) -> dict[str, Any]:
        """Return what is indexed, in the form of `contents_of`."""
        state = self._get("state")
        assert state["pending"] == 0
        organization = state["organizations"][ORGANIZATION]
        return {
            "items": {
                name: {item["uri"]: _held(item) for item in source["items"]}
                for name, source in organization["sources"].items()
                if source["items"]
            },
            "identities": {
                f"{entry['type']} {entry['name']}{_shown(entry['additionalInfo'])}": held
                for entry in organization["identities"].get(PROVIDER_ID, ())
                if (held := _held_identity(entry))
            },
        }

    def logs(self) -> list[dict[str, Any]]:
        """Return the entries of the pipeline's log that are not COMPLETED."""
        now = self._get("state")["now"]
        answer = self._client.post(
            f"/logs/v1/organizations/{ORGANIZATION}",
            params={"from": _iso(now - 86400), "to": _iso(now + 86400), "perPage": 1000},
            json={},
            headers={"Authorization": f"Bearer {KEY}"},
        )
        answer.raise_for_status()
        return [entry for entry in answer.json()["documentLogEntries"] if entry["result"] != "COMPLETED"]

    def _get(self, name: str, **query: Any) -> Any:
        answer = self._client.get(f"/_emulator/{name}", params=query)
        answer.raise_for_status()
        return answer.json()

    def close(self) -> None:
        self._client.close()


@contextmanager
def start_remote(hooks: Hooks | None = None, **changes: Any) -> Iterator[Remote]:
    """Serve an emulator on a free loopback port for the length of a `with` block."""
    with BackgroundEmulator(replace(OPTIONS, **changes), hooks=hooks) as emulator:
        remote = Remote(emulator)
        try:
            yield remote
        finally:
            remote.close()


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _held(item: Mapping[str, Any]) -> dict[str, Any]:
    body = item["body"]
    return {
        "metadata": item["metadata"],
        "parent": item["parentId"],
        "extension": item["fileExtension"],
        "levels": [
            {
                "name": level["name"],
                "sets": _sorted(
                    {
                        "name": entry["name"],
                        "anonymous": entry["allowAnonymous"],
                        "allowed": _sorted(_permission(who) for who in entry["allowedPermissions"]),
                        "denied": _sorted(_permission(who) for who in entry["deniedPermissions"]),
                    }
                    for entry in level["permissionSets"]
                ),
            }
            for level in item["permissions"] or ()
        ],
        "body": None if body is None else {"size": body["size"], "sha256": body["sha256"]},
    }


def _permission(who: Mapping[str, Any]) -> list[Any]:
    return [who["securityProvider"], who["identityType"], who["identity"], who["additionalInfo"]]


def _held_identity(entry: Mapping[str, Any]) -> dict[str, Any]:
    lists = {
        key: _sorted([who["provider"], who["type"], who["name"], who["additionalInfo"]] for who in entry[key])
        for key in ("members", "wellKnowns", "mappings")
    }
    if entry["disabled"]:
        return {}
    # An identity of which nothing is said may or may not be listed: a user without well-knowns is pushed,
    # one whose alias went stays behind with an empty mapping.
    return {key: value for key, value in lists.items() if value} or ({"bare": True} if entry["type"] != "USER" else {})


def _sorted(entries: Iterable[Any]) -> list[Any]:
    return sorted(entries, key=lambda entry: orjson.dumps(entry, option=orjson.OPT_SORT_KEYS))


def _shown(info: Mapping[str, str]) -> str:
    return f" {json.dumps(info, sort_keys=True)}" if info else ""


# -- what the remote should hold -------------------------------------------------------------------

_SOURCES = {"handbook": SOURCE_ID, "blog": SHARED_ID, "shop": CATALOG_ID}
_PROVIDERS = {"corp": PROVIDER_ID}
_PERMISSION_TYPES = {"user": "User", "group": "Group", "virtual-group": "VirtualGroup", "unknown": "Unknown"}


def contents_of(resources: Iterable[Resource]) -> dict[str, Any]:
    """Return what the remote holds once it took these resources and nothing else."""
    items: dict[str, dict[str, Any]] = {}
    identities: dict[str, dict[str, Any]] = {}
    for resource in resources:
        if resource.address.kind is Kind.ITEM:
            items.setdefault(_SOURCES[resource.address.scope], {})[resource.address.name] = _expected_item(resource)
            continue
        own, shared = resource.own(), resource.shared_doc() or {}
        kind, _, name = resource.address.name.partition(":")
        text = (
            f"{kind}/{resource.address.scope}/{name}" if resource.address.kind is Kind.ALIAS else str(resource.address)
        )
        who = parse_identity(text)
        key = f"{who.type.upper().replace('-', '_')} {who.name}{_shown(dict(who.info))}"
        held = identities.setdefault(key, {})
        for field, names in (
            ("members", own.get("members")),
            ("mappings", own.get("mappings")),
            ("wellKnowns", shared.get("wellKnowns")),
        ):
            if names:
                held[field] = _sorted(_expected_identity(name) for name in names)
        if not held and who.type != "user":
            held["bare"] = True
    return {
        "items": items,
        "identities": {
            key: {name: value for name, value in held.items() if name != "bare" or len(held) == 1}
            for key, held in identities.items()
            if held
        },
    }


def _expected_item(resource: Resource) -> dict[str, Any]:
    own, model = resource.own(), resource.shared_doc() or {"levels": []}
    metadata = {"permanentid": permanent_id(resource.address.name), **own.get("metadata", {})}
    if "title" in own:
        metadata["title"] = own["title"]
    if "clickableUri" in own:
        metadata["clickableuri"] = own["clickableUri"]
    body = own.get("body")
    return {
        "metadata": metadata,
        "parent": own.get("parent"),
        "extension": own.get("fileExtension"),
        "levels": [
            {
                "name": level.get("name", ""),
                "sets": _sorted(
                    {
                        "name": entry.get("name", ""),
                        "anonymous": entry.get("anonymous", False),
                        "allowed": _sorted(_expected_permission(who) for who in entry.get("allowed", ())),
                        "denied": _sorted(_expected_permission(who) for who in entry.get("denied", ())),
                    }
                    for entry in level["sets"]
                ),
            }
            for level in model["levels"]
        ],
        "body": None if body is None else {"size": body["size"], "sha256": body["sha256"]},
    }


def _expected_permission(text: str) -> list[Any]:
    who = parse_identity(text)
    return [_PROVIDERS.get(who.provider, who.provider), _PERMISSION_TYPES[who.type], who.name, dict(who.info)]


def _expected_identity(text: str) -> list[Any]:
    who = parse_identity(text)
    kind = who.type.upper().replace("-", "_")
    return [_PROVIDERS.get(who.provider, who.provider), kind, who.name, dict(who.info)]


# -- model values ----------------------------------------------------------------------------------


def item(uri: str, *, source: str = "handbook", allowed: Iterable[str] = (), **own: Any) -> Resource:
    """Return an item; `allowed` makes a model of one set, `own` adds to its document."""
    shared = canonical_json({"levels": [{"sets": [{"allowed": sorted(allowed)}]}]}) if allowed else b""
    return Resource(Address.of(Kind.ITEM, source, uri), canonical_json({"metadata": {}, **own}), shared)


def group(name: str, *members: str, well_knowns: Iterable[str] = (), **own: Any) -> Resource:
    """Return a group of the provider `corp` with these members (canonical identities)."""
    shared = canonical_json({"wellKnowns": sorted(well_knowns)}) if well_knowns else b""
    return Resource(Address.of(Kind.GROUP, "corp", name), canonical_json({"members": sorted(members), **own}), shared)


def user(name: str, *well_knowns: str, **own: Any) -> Resource:
    """Return a user of the provider `corp`."""
    shared = canonical_json({"wellKnowns": sorted(well_knowns)}) if well_knowns else b""
    return Resource(Address.of(Kind.USER, "corp", name), canonical_json(own), shared)


def alias(name: str, *mappings: str, well_knowns: Iterable[str] = (), **own: Any) -> Resource:
    """Return the alias of a user of the provider `corp`."""
    shared = canonical_json({"wellKnowns": sorted(well_knowns)}) if well_knowns else b""
    doc = canonical_json({"mappings": sorted(mappings), **own})
    return Resource(Address.of(Kind.ALIAS, "corp", f"user:{name}"), doc, shared)


def fingerprints(*resources: Resource) -> dict[str, bytes]:
    """Return resources as one side of a comparison."""
    return {str(resource.address): resource.fingerprint for resource in resources}


def lookup(*resources: Resource) -> Callable[[Iterable[str]], dict[str, Resource]]:
    """Return a function that finds those resources by address."""
    known = {str(resource.address): resource for resource in resources}
    return lambda addresses: {address: known[address] for address in addresses if address in known}
