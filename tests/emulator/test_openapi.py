"""The document that the emulator serves of itself agrees with what it serves (`/openapi.json`)."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import schemathesis
from starlette.applications import Starlette
from starlette.routing import Route

from reconciler.emulator.openapi.table import operations
from reconciler.emulator.pages.routes import page_routes
from tests.emulator.conftest import Remote


def served(app: Starlette) -> set[tuple[str, str]]:
    """Return the endpoints of an application, without the pages for people."""
    pages = {route.path for route in page_routes(app.state.engine)}
    found = set()
    for route in app.routes:
        assert isinstance(route, Route)
        if route.path not in pages:
            # A GET answers HEAD too; only the storage means something by it.
            methods = set(route.methods or ()) - (set() if "_storage" in route.path else {"HEAD"})
            found |= {(method, _plain(route.path)) for method in methods}
    return found


def _plain(path: str) -> str:
    """Return a path without the converters of its parameters."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path)


def read(remote: Remote) -> Any:
    answer = remote.client.get("/openapi.json", headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


def test_every_route_is_in_the_document_and_the_reverse(remote: Remote) -> None:
    document = read(remote)
    told = {
        (method.upper(), path)
        for path, described in document["paths"].items()
        for method in described
        if method != "parameters"
    }
    real = served(remote.client._transport.app)  # type: ignore[attr-defined]
    assert told - real == set(), "told but not served"
    assert real - told == set(), "served but not told"


def test_the_document_is_valid_openapi_3_1(remote: Remote) -> None:
    document = read(remote)
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    assert sum(1 for _ in schema.get_all_operations()) == len(operations())


def test_models_are_valid_json_schemas_and_all_used(remote: Remote) -> None:
    document = read(remote)
    models = document["components"]["schemas"]
    for model in models.values():
        jsonschema.Draft202012Validator.check_schema(model)
    used = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert used == set(models)


def test_operations_have_names_of_their_own(remote: Remote) -> None:
    names = [entry.name for entry in operations()]
    assert len(set(names)) == len(names)


def test_path_parameters_are_declared(remote: Remote) -> None:
    for path, described in read(remote)["paths"].items():
        for operation in described.values():
            declared = {entry["name"] for entry in operation["parameters"] if entry["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path)), path
