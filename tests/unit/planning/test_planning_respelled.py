"""A deletion of an identity that stays under another spelling is refused."""

from __future__ import annotations

import pytest

from reconciler.model.address import Address
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change
from reconciler.planning.diff import changes_of, compare
from reconciler.planning.respelled import respelled_deletions


def changes(before: list[str], after: list[str]) -> tuple[Change, ...]:
    sides = [{name: Resource(Address(name), b"{}") for name in names} for names in (before, after)]
    old, new = ({name: entry.fingerprint for name, entry in side.items()} for side in sides)
    found = changes_of(
        compare(new, old),
        desired=lambda names: {name: sides[1][name] for name in names if name in sides[1]},
        recorded=lambda names: {name: sides[0][name] for name in names if name in sides[0]},
        moved={},
    )
    assert all(change.action in (Action.CREATE, Action.DELETE) for change in found)
    return found


def refused(before: list[str], after: list[str]) -> list[str]:
    return [problem.what for problem in respelled_deletions(changes(before, after), after, str.casefold)]


@pytest.mark.parametrize("kind", ["group", "virtual-group", "user"])
def test_another_spelling_is_the_same_identity(kind: str) -> None:
    old, new = f"{kind}/corp/Team", f"{kind}/corp/TEAM"
    assert refused([old], [new]) == [f'"{old}" would be deleted, and "{new}" is the same identity']
    assert refused([old, new], [new]) == [f'"{old}" would be deleted, and "{new}" is the same identity']
    assert refused([old, new], []) == []


def test_an_alias_is_spelled_by_its_identity() -> None:
    assert len(refused(["alias/corp/user:A"], ["alias/corp/user:a"])) == 1


def test_items_and_other_kinds_are_no_spelling_of_it() -> None:
    assert refused(["item/s/x:A", "user/corp/A"], ["item/s/x:a", "group/corp/a"]) == []


def test_the_fix_names_what_was_accepted_and_the_provider() -> None:
    [problem] = respelled_deletions(changes(["user/corp/A"], ["user/corp/a"]), ["user/corp/a"], str.casefold)
    assert problem.code == "respelled"
    assert '"A"' in problem.fix and "`providers: corp`" in problem.fix
