"""The published schemas: fresh, met by what is right, and not by what is wrong."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pydantic
import pytest
from ruamel.yaml import YAML

from reconciler import schemas
from reconciler.cli.schema import NAMES
from reconciler.manifest import schema as models
from reconciler.manifest.examples import EXAMPLES
from tests.builders import REPOSITORY, Folder, as_yaml, run_here

MANIFESTS = REPOSITORY / "manifests"
VALIDATORS = {name: jsonschema.Draft202012Validator(make()) for name, make in schemas.SCHEMAS.items()}


def yaml_documents(text: str) -> list[Any]:
    return [_texts(document) for document in YAML(typ="safe", pure=True).load_all(text)]


def _texts(value: Any) -> Any:
    """Return plain values: ruamel makes dates of timestamps, which YAML 1.2 and JSON have not."""
    if isinstance(value, dict):
        return {key: _texts(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_texts(entry) for entry in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(entry)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_fresh(name: str) -> None:
    path = REPOSITORY / "schemas" / f"{name}.json"
    assert path.read_text(encoding="utf-8") == schemas.schema_text(name), "run: make schemas"


def test_folder_holds_nothing_else() -> None:
    assert tuple(schemas.SCHEMAS) == NAMES
    assert {path.name for path in (REPOSITORY / "schemas").iterdir()} == {f"{name}.json" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_schema_with_a_relative_id(name: str) -> None:
    schema = VALIDATORS[name].schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"{name}.json"
    assert list(schema)[:3] == ["$schema", "$id", "title"]
    assert schemas.schema_text(name).endswith("}\n")


@pytest.mark.parametrize("name", NAMES)
def test_patterns_are_understood_by_javascript(name: str) -> None:
    patterns = [node["pattern"] for node in nodes(VALIDATORS[name].schema) if isinstance(node.get("pattern"), str)]
    assert patterns
    for pattern in patterns:
        re.compile(pattern)
        assert not re.search(r"\(\?[a-zA-Z<#]|\\[AzZ]", pattern), pattern


@pytest.mark.parametrize("name", ["manifest", "project", "overlay"])
def test_help_for_every_key(name: str) -> None:
    schema = VALIDATORS[name].schema
    for title, definition in [(name, schema), *schema["$defs"].items()]:
        assert definition["description"] and definition["title"], title
        for key, entry in definition.get("properties", {}).items():
            assert entry.get("description"), f"{title}.{key}"


@pytest.mark.parametrize("name", ["manifest", "project", "overlay"])
def test_every_key_has_examples_that_are_right(name: str) -> None:
    schema = VALIDATORS[name].schema
    for title, definition in [(name, schema), *schema["$defs"].items()]:
        for key, entry in definition.get("properties", {}).items():
            own = entry.get("examples") or _of_its_type(schema, entry)
            assert own, f"{title}.{key} has no example; see reconciler/manifest/examples.py"
            judge = jsonschema.Draft202012Validator({"$defs": schema["$defs"], **entry})
            for example in own:
                judge.validate(example)


def _of_its_type(schema: dict[str, Any], entry: dict[str, Any]) -> list[Any]:
    """Return the examples of the definition that a key names, if it has any."""
    name = entry.get("$ref", "").rpartition("/")[2]
    return list(schema["$defs"][name].get("examples", ())) if name else []


def test_no_example_is_of_a_key_that_does_not_exist() -> None:
    known = {
        f"{definition_name}.{key}"
        for schema_name, file in (("manifest", "ManifestFile"), ("project", "ProjectFile"))
        for definition_name, definition in [
            (file, VALIDATORS[schema_name].schema),
            *VALIDATORS[schema_name].schema["$defs"].items(),
        ]
        for key in definition.get("properties", {})
    }
    everywhere = {f"*.{name.rpartition('.')[2]}" for name in known}
    assert set(EXAMPLES) <= known | everywhere


@pytest.mark.parametrize("name", ["manifest", "project", "overlay"])
def test_nothing_that_nobody_types_is_offered(name: str) -> None:
    for node in nodes(VALIDATORS[name].schema):
        assert node.get("type") != "null"
        assert node.get("default", 0) not in (None, [], {})
        if node.get("type") == "object" and "properties" in node:
            assert node["additionalProperties"] is False, node.get("title")
        if "patternProperties" in node:
            assert node["additionalProperties"] is False


def test_keys_are_those_of_the_wire_not_of_python() -> None:
    item = VALIDATORS["manifest"].schema["$defs"]["ItemSpec"]["properties"]
    assert {"clickableUri", "fileExtension", "permanentId"} <= item.keys()
    assert "clickable_uri" not in item


def test_examples_are_kept() -> None:
    assert VALIDATORS["manifest"].schema["$defs"]["IdentityText"]["examples"] == [
        "user:alice@example.com",
        "group:AlphaTeam",
    ]
    assert VALIDATORS["manifest"].schema["$defs"]["ItemSpec"]["properties"]["fileExtension"]["examples"] == [".html"]


@pytest.mark.parametrize("path", sorted(MANIFESTS.glob("*.yaml")), ids=lambda path: path.name)
def test_worked_manifests_are_valid(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    name = "project" if path.name == "reconciler.yaml" else "manifest"
    assert f"$schema=../schemas/{name}.json" in text.partition("\n")[0]
    for document in yaml_documents(text):
        VALIDATORS[name].validate(document)


ITEM = {"uri": "https://example.com/a"}
FAILING = """\
sources: {blog: {id: blogid, visibility: shared}}
environments: {local: {organization: acme, apiKey: {env: NO_SUCH_KEY}}}
"""


@pytest.mark.parametrize(
    "wrong",
    [
        {"item": [ITEM]},
        {"items": [{"title": "no uri"}]},
        {"items": [{**ITEM, "titel": "misspelled"}]},
        {"items": [{**ITEM, "title": None}]},
        {"items": [{**ITEM, "title": 1}]},
        {"items": [{**ITEM, "fileExtension": "html"}]},
        {"items": [{**ITEM, "metadata": {"nested": {"a": 1}}}]},
        {"items": [{**ITEM, "body": {"text": "a", "file": "b"}}]},
        {"items": [{**ITEM, "body": {}}]},
        {"items": [{**ITEM, "permissions": {"allowed": ["alice"]}}]},
        {"items": [{**ITEM, "permissions": {"allowed": [], "levels": [[{}]]}}]},
        {"groups": [{"name": "g"}]},
        {"groups": [{"name": "g", "members": ["user:"]}]},
        {"groups": [{"name": "g", "members": [{"user": "a", "group": "b"}]}]},
        {"aliases": [{"is": [{"provider": "p", "identity": "user:a"}]}]},
        {"itemSets": [{"from": {"files": "*", "csv": "a"}, "item": ITEM}]},
        {"sources": {"handbook": {"id": "x"}}},
        {"items": None},
        [],
    ],
    ids=str,
)
def test_wrong_manifests_are_not(wrong: Any) -> None:
    assert not VALIDATORS["manifest"].is_valid(wrong)


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"items": [{**ITEM, "permissions": "named", "metadata": {"a": [1, 2.5, True, "x"]}, "protect": True}]},
        {"items": [{**ITEM, "permissions": [{"permissionSets": []}]}]},
        {"items": [{**ITEM, "permissions": {"levels": [[{"allowed": ["GROUP:a"]}], {"name": "x", "sets": [{}]}]}}]},
        {"groups": [{"name": "g", "members": ["virtual-group:a", {"user": "a", "additionalInfo": {"k": "v"}}]}]},
        {"aliases": [{"of": "user:a", "is": [{"provider": "p", "identity": "user:a"}]}]},
    ],
    ids=str,
)
def test_right_manifests_are(right: Any) -> None:
    VALIDATORS["manifest"].validate(right)
    models.ManifestFile.model_validate(right)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sources": {"handbook": {}}},
        {"sources": {"hand book": {"id": "x"}}},
        {"sources": {"handbook": {"id": "x", "visibility": "public"}}},
        {"environments": {"prod": {"apiKey": "the key itself"}}},
        {"environments": {"prod": {"apiKey": {"env": "A", "file": "b"}}}},
        {"environments": {"prod": {"region": "mars"}}},
        {"guardrails": {"deletes": 10}},
        {"guardrails": {"deletes": "110%"}},
    ],
    ids=str,
)
def test_wrong_projects_are_not(wrong: Any) -> None:
    assert not VALIDATORS["project"].is_valid(wrong)
    with pytest.raises(pydantic.ValidationError):
        models.ProjectFile.model_validate(wrong)


_SAMPLES: dict[str, Any] = {
    "anonymous": True,
    "allowed": ["user:a"],
    "denied": ["user:a"],
    "sets": [{}],
    "levels": [[{}]],
    "of": "user:a",
    "ofEach": {"membersOf": "*"},
    "command": ["a"],
}


@pytest.mark.parametrize(("name", "groups"), list(schemas.EXACTLY_ONE.items()), ids=list(schemas.EXACTLY_ONE))
def test_exactly_one_says_what_the_models_say(name: str, groups: tuple[str | tuple[str, ...], ...]) -> None:
    """The models refuse two and none in code, which no generator sees; `EXACTLY_ONE` says it again."""
    model = getattr(models, name)
    needed = {"is": [{"provider": "p", "identity": "user:a"}]} if name == "AliasSpec" else {}
    definitions = VALIDATORS["project"].schema["$defs"]
    validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})
    keys = [group if isinstance(group, str) else group[0] for group in groups]

    def both(value: dict[str, Any]) -> tuple[bool, bool]:
        try:
            model.model_validate(value)
        except pydantic.ValidationError:
            return validator.is_valid(value), False
        return validator.is_valid(value), True

    assert both(needed) == (False, False)
    for key in keys:
        assert both({**needed, key: _SAMPLES.get(key, "x")}) == (True, True)
    two = {key: _SAMPLES.get(key, "x") for key in keys[:2]}
    assert both({**needed, **two}) == (False, False)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    root = tmp_path_factory.mktemp("worked") / "manifests"
    shutil.copytree(MANIFESTS, root, ignore=shutil.ignore_patterns(".reconciler"))
    for arguments in (("plan", "--out", str(root / "plan.json")), ("apply", "--auto-approve", "--format", "json")):
        ran = run_here("-C", str(root), *arguments)
        assert ran.code == 0, ran.err
    (root / "report.json").write_text(ran.out)
    return Folder(root, (MANIFESTS / "reconciler.yaml").read_text(encoding="utf-8"))


def test_plans_are_valid(applied: Folder) -> None:
    saved = orjson.loads((applied.root / "plan.json").read_bytes())
    assert saved["changes"]
    VALIDATORS["plan"].validate(saved)
    VALIDATORS["plan"].validate(applied.ok("plan", "--format", "json").json)
    assert not VALIDATORS["plan"].is_valid({**saved, "checksum": "none"})


def test_pulled_states_are_valid(applied: Folder, folder: Folder) -> None:
    state = applied.ok("state", "pull").json
    assert state["resources"]
    VALIDATORS["state"].validate(state)
    VALIDATORS["state"].validate(folder.ok("state", "pull").json)
    assert not VALIDATORS["state"].is_valid({**state, "more": 1})
    assert not VALIDATORS["state"].is_valid({key: value for key, value in state.items() if key != "serial"})


def test_states_with_doubts_are_valid() -> None:
    entry = {
        "at": "2026-01-01T00:00:00.000Z",
        "call": 1,
        "covers": [["put", ["item/handbook/https://example.com/a"]]],
        "detail": "",
        "kind": "item",
        "ordering_id": 1,
        "outcome": None,
        "request_digest": "",
        "run": "r",
        "settled_at": "",
    }
    state = {"format_version": 1, "lineage": "", "serial": 0, "target": None, "unsettled": [entry], "resources": []}
    VALIDATORS["state"].validate(state)
    assert not VALIDATORS["state"].is_valid({**state, "unsettled": [{**entry, "covers": [["push", []]]}]})


def test_reports_of_an_apply_are_valid(applied: Folder) -> None:
    report = orjson.loads((applied.root / "report.json").read_bytes())
    assert report["calls"]
    VALIDATORS["apply"].validate(report)
    nothing = applied.ok("apply", "--auto-approve", "--format", "json").json
    assert nothing["run"] is None
    VALIDATORS["apply"].validate(nothing)
    assert not VALIDATORS["apply"].is_valid({**report, "result": "perhaps"})
    assert not VALIDATORS["apply"].is_valid({key: value for key, value in report.items() if key != "notes"})


def test_reports_of_a_verification_are_valid(applied: Folder) -> None:
    report = applied.ok("verify", "--all", "--format", "json").json
    assert report["kinds"] and report["metadata"]
    VALIDATORS["verify"].validate(report)
    nothing = applied.ok("verify", "--format", "json").json
    assert nothing["total"] == 0
    VALIDATORS["verify"].validate(nothing)
    assert not VALIDATORS["verify"].is_valid({**report, "summary": {}})


def test_reports_of_a_validation_are_valid(applied: Folder, folder: Folder) -> None:
    good = applied.ok("validate", "--format", "json").json
    assert good["problems"] == []
    VALIDATORS["validate"].validate(good)
    folder.write("bad.yaml", "items: [{}]\n")
    bad = folder.run("validate", "--format", "json").json
    assert bad["problems"]
    VALIDATORS["validate"].validate(bad)
    assert not VALIDATORS["validate"].is_valid({**bad, "problems": [{"code": "x"}]})


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--check-fields"),
        ("apply", "--auto-approve"),
        ("verify", "--all"),
        ("state", "show", "item/handbook/nothing"),
        ("show", "nothing.json"),
        ("plan", "--source", "nothing"),
        ("plan", "--no-such-option"),
    ],
    ids=" ".join,
)
def test_what_fails_before_it_can_report_says_so_as_a_validation_does(
    arguments: tuple[str, ...], folder: Folder
) -> None:
    folder.write("a.yaml", as_yaml({"items": [{**ITEM, "source": "blog", "metadata": {"k": 1}}]}))
    if arguments[0] == "verify":
        folder.ok("apply", "--auto-approve")
    folder.write("reconciler.yaml", FAILING)

    ran = folder.run(*arguments, "--format", "json")

    assert ran.code in (1, 2), ran.out
    VALIDATORS["validate"].validate(ran.json)
    assert ran.json["problems"][0]["code"] in ran.err or ran.json["problems"][0]["code"] == "wrong-usage"
