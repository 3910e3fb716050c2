"""A controller whose lock another one took, on a store that several machines share."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.builders import Remote
from tests.controllers import CHANGED, Checkout, holds_what_is_recorded, project_at, running


@pytest.fixture
def checkout(tmp_path: Path, remote: Remote, postgres_url: str) -> Checkout:
    return Checkout(
        tmp_path / "project", project_at(remote).replace("target: http", f"state: '{postgres_url}', target: http")
    )


def test_a_leader_that_lost_its_lease_sends_nothing_and_lets_go(
    checkout: Checkout, remote: Remote, postgres_url: str
) -> None:
    with running(checkout) as controller:
        controller.until(lambda: controller.result == "unchanged")
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            # As the one does that takes over from a holder that gave no sign of life.
            admin.execute("UPDATE reconciler.fence SET generation = generation + 1, holder = 'another'")
            sent = remote.total
            checkout.merge(CHANGED)
            controller.until(lambda: [entry for entry in controller.named("problem") if entry["code"] == "lock-lost"])
            assert [request for request in remote.requests(since=sent) if request["method"] != "GET"] == []
            assert controller.metrics()["reconciler_calls_total[accepted]"] == 3
        # Nobody holds it, so it may be taken again, as by any other.
        controller.until(lambda: controller.result == "unchanged")
        assert controller.stop() == 0
    assert holds_what_is_recorded(checkout, remote)


def test_of_two_controllers_of_a_shared_state_one_stands_by(checkout: Checkout) -> None:
    with running(checkout) as first:
        first.until(lambda: first.result == "unchanged")
        with running(checkout) as second:
            second.until(lambda: second.result == "standby")
            assert first.stop() == 0
            second.until(lambda: second.metrics()["reconciler_leader"] == 1)
            assert second.stop() == 0
