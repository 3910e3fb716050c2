"""Sixteen processes on one state: one writes at a time, nothing is done twice, and who has to wait is told why."""

from __future__ import annotations

import pytest

from reconciler.cli.session import open_session
from reconciler.state.journal import Outcome
from tests.builders import Folder, Remote, as_yaml, contents_of

PROCESSES = 16


def manifest(text: str) -> str:
    return as_yaml(
        {
            "defaults": {"source": "handbook", "provider": "corp"},
            "groups": [{"name": "Staff", "members": ["user:alice@example.com"]}],
            "items": [
                {"uri": f"x:{number}", "body": {"text": text}, "permissions": {"allowed": ["group:Staff"]}}
                for number in range(5)
            ],
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("patient", [True, False], ids=["waiting", "at once"])
def test_one_of_many_applies_does_the_work(folder: Folder, remote: Remote, patient: bool) -> None:
    folder.at(remote).write("all.yaml", manifest("first"))
    wait = ("--lock-timeout", "120") if patient else ()
    running = [folder.start("apply", "--auto-approve", *wait) for _ in range(PROCESSES)]
    ended = [(process.communicate(timeout=300), process.returncode) for process in running]

    codes = [code for _, code in ended]
    errors = [told[1] for told, code in ended if code]
    assert set(codes) <= ({0} if patient else {0, 1}), errors
    assert 0 in codes
    assert all("error[state-locked]" in told for told in errors), errors
    with open_session(str(folder.root), None) as session:
        entries = list(session.store.journal())
        resources = [row.resource for row in session.store.rows()]
    assert {entry.outcome for entry in entries} == {Outcome.ACCEPTED}
    covered = [address for entry in entries for address, _ in entry.intent.covers]
    assert len(covered) == len(set(covered)) == len(resources) == 6
    assert remote.contents() == contents_of(resources)
