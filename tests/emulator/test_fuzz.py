"""Whatever is sent to any endpoint, nothing breaks: generated requests over real HTTP, from the served document.

The same requests in every run. Replies must have a status, a content type and a shape that the document tells,
and come within seconds; a 500 is a failure.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
import requests
import schemathesis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    CoveragePhaseConfig,
    ExamplesPhaseConfig,
    FuzzingPhaseConfig,
    GenerationConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
    StatefulPhaseConfig,
)
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from reconciler.emulator.openapi.document import document
from reconciler.emulator.options import SourceOptions
from reconciler.emulator.server import BackgroundEmulator
from tests.emulator.conftest import KEY, OPTIONS, ORGANIZATION, PROVIDER, SOURCE

EXAMPLES = 25
SECONDS = 30
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
CATALOG = SourceOptions("catalog", "SHARED", None, "catalog")
KNOWN = {"organization": ORGANIZATION, "source": SOURCE, "provider": PROVIDER, "index": "emulated-index-1"}

CONFIG = SchemathesisConfig(
    seed=1,
    projects=ProjectsConfig(
        default=ProjectConfig(
            generation=GenerationConfig(
                deterministic=True, max_examples=EXAMPLES, database="none", modes=list(schemathesis.GenerationMode)
            ),
            phases=PhasesConfig(
                examples=ExamplesPhaseConfig(enabled=False),
                coverage=CoveragePhaseConfig(enabled=True),
                fuzzing=FuzzingPhaseConfig(enabled=True),
                stateful=StatefulPhaseConfig(enabled=False),
            ),
        )
    ),
)
# The paths of the legacy host are answered by the same functions.
schema = schemathesis.openapi.from_dict(document(), config=CONFIG).exclude(deprecated=True)


class Troubles(logging.Handler):
    """Collects what the emulator could not process after it had accepted it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


@pytest.fixture(scope="module")
def troubles() -> Iterator[Troubles]:
    handler = Troubles()
    logger = logging.getLogger("reconciler.emulator")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture(scope="module")
def emulator(troubles: Troubles) -> Iterator[BackgroundEmulator]:
    with BackgroundEmulator(replace(OPTIONS, sources=(*OPTIONS.sources, CATALOG))) as running:
        yield running


@pytest.fixture(scope="module")
def client(emulator: BackgroundEmulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=emulator.url, timeout=SECONDS) as client:
        yield client


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@schema.parametrize()
def test_any_request_is_answered_as_the_document_tells(
    case: schemathesis.Case, emulator: BackgroundEmulator, session: requests.Session
) -> None:
    # Names that exist, mostly: what lies behind them is to be reached.
    for name, known in KNOWN.items():
        given = case.path_parameters.get(name)
        if given is not None and len(str(given)) % 7:
            case.path_parameters[name] = CATALOG.id if "/stream/" in case.path and name == "source" else known
    if "organizationId" in case.query and len(str(case.query["organizationId"])) % 7:
        case.query["organizationId"] = ORGANIZATION
    case.call_and_validate(
        base_url=emulator.url,
        session=session,
        headers={} if "_storage" in case.path else AUTHORIZED,
        timeout=SECONDS,
        checks=CHECKS,
    )


_leaf = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
_json = st.recursive(
    _leaf,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_KEYS = (
    *("documentId", "DATA", "compressedBinaryData", "compressedBinaryDataFileId", "compressionType", "fileExtension"),
    *("parentId", "permissions", "orderingId", "deleteChildren", "title", "date", "operator", "field", "value"),
    *("identity", "members", "mappings", "wellKnowns", "name", "type", "additionalInfo", "provider"),
)
_likely = st.sampled_from(
    ["http://a", "http://b/c", "USER", "ZLIB", "arrayAppend", "fieldValueReplace", [], {}, "eA==", ["x"], {"name": "n"}]
)
_entry = st.dictionaries(st.sampled_from(_KEYS), _likely | _json, max_size=6) | _json
_LISTS = ("addOrUpdate", "delete", "partialUpdate", "members", "mappings", "deleted")
_file = st.dictionaries(st.sampled_from(_LISTS), st.lists(_entry, max_size=4) | _json, max_size=4)


@settings(max_examples=100, derandomize=True, database=None)
@given(content=_file.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
@example(content=b'{"addOrUpdate": [{"documentId": "http://a", "title": "\\ud800"}]}')
def test_any_file_is_processed_or_refused_by_the_logs(content: bytes, client: httpx.Client) -> None:
    """Batches of items and identities, updates and merges of a catalog: whatever a container holds."""
    root = f"/push/v1/organizations/{ORGANIZATION}"
    paths = (
        f"{root}/sources/{SOURCE}/documents/batch",
        f"{root}/sources/{CATALOG.id}/stream/update",
        f"{root}/sources/{CATALOG.id}/stream/merge",
        f"{root}/providers/{PROVIDER}/permissions/batch",
    )
    for path in paths:
        made = client.post(f"{root}/files", headers=AUTHORIZED).json()
        assert client.put(made["uploadUri"], content=content, headers=made["requiredHeaders"]).status_code == 200
        assert client.put(path, params={"fileId": made["fileId"]}, headers=AUTHORIZED).status_code == 202
    assert client.post("/_emulator/flush").json() == {"pending": 0}
    assert client.get("/_emulator/state").status_code == 200


@pytest.mark.parametrize("seconds", ["1e11", "1e17", "1e300", "1e999", "-1", "[]", "null"])
def test_the_clock_goes_forward_as_far_as_dates_do(seconds: str, client: httpx.Client) -> None:
    before = client.get("/_emulator/state").json()["now"]
    answer = client.post("/_emulator/clock", content=f'{{"advance": {seconds}}}')
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_JSON")
    assert client.get("/_emulator/state").json()["now"] < before + 60


def test_nothing_was_left_unprocessed_and_it_still_works(client: httpx.Client, troubles: Troubles) -> None:
    assert client.post("/_emulator/flush").json() == {"pending": 0}
    assert troubles.found == []
    assert client.post("/_emulator/reset").status_code == 200
    path = f"/push/v1/organizations/{ORGANIZATION}/sources/shared/documents"
    answer = client.put(path, params={"documentId": "http://a"}, json={"data": "x"}, headers=AUTHORIZED)
    assert answer.status_code == 202
    state = client.get("/_emulator/state").json()["organizations"][ORGANIZATION]
    assert [item["uri"] for item in state["sources"]["shared"]["items"]] == ["http://a"]
