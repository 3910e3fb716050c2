"""Whatever is sent to any endpoint, nothing breaks: generated requests over real HTTP, from the served document.

The same requests in every run. Replies must have a status, a content type and a shape that the document tells,
and come within seconds; a 500 is a failure.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import requests
import schemathesis
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

from reconciler.emulator.openapi import document
from reconciler.emulator.server import BackgroundEmulator
from tests.emulator.conftest import KEY, OPTIONS, ORGANIZATION, PROVIDER, SOURCE

EXAMPLES = 25
SECONDS = 30
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
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


@pytest.fixture(scope="module")
def emulator() -> Iterator[BackgroundEmulator]:
    with BackgroundEmulator(OPTIONS) as running:
        yield running


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
            case.path_parameters[name] = known
    if "organizationId" in case.query and len(str(case.query["organizationId"])) % 7:
        case.query["organizationId"] = ORGANIZATION
    case.call_and_validate(
        base_url=emulator.url,
        session=session,
        headers={} if "_storage" in case.path else {"Authorization": f"Bearer {KEY}"},
        timeout=SECONDS,
        checks=CHECKS,
    )


def test_it_still_works_afterwards(emulator: BackgroundEmulator) -> None:
    with httpx.Client(base_url=emulator.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        assert client.post("/_emulator/reset").status_code == 200
        path = f"/push/v1/organizations/{ORGANIZATION}/sources/shared/documents"
        assert client.put(path, params={"documentId": "http://a"}, json={"data": "x"}).status_code == 202
        state = client.get("/_emulator/state").json()["organizations"][ORGANIZATION]
        assert [item["uri"] for item in state["sources"]["shared"]["items"]] == ["http://a"]
