"""Names what is risky in a set of changes, so that it must be allowed by that name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from reconciler.model.address import GROUP_KINDS, Kind
from reconciler.planning.change import FORGOTTEN, Action, Change
from reconciler.planning.diff import RESENT
from reconciler.planning.expiring import NOTHING_LAPSED, Lapsed
from reconciler.planning.plan import Hazard
from reconciler.problems import Problem

# Below this many recorded resources a share says nothing: one of four is already a quarter.
SHARE_FROM = 10
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan may do before somebody must allow it: shares from 0 to 1, and a count."""

    deletes: float | None = None
    updates: float | None = None
    max_changes: int | None = None


def hazards_of(
    changes: Sequence[Change],
    *,
    desired: Iterable[str],
    recorded: Collection[str],
    limits: Limits,
    allowed: Collection[str] = (),
    lapsed: Lapsed = NOTHING_LAPSED,
) -> tuple[Hazard, ...]:
    """Return the hazards of `changes`, sorted by name and subject.

    `desired` and `recorded` are all addresses of either side. `allowed` holds names, or
    `name:subject`, that the user allowed. What is empty because of what `lapsed` alone is none: that
    was written and reviewed when it was granted.
    """
    found = [
        *_shares(changes, len(recorded), limits),
        *_emptied(changes, desired, recorded, lapsed),
        *_emptied_groups(changes, lapsed),
    ]
    return tuple(
        replace(hazard, allowed=hazard.name in allowed or f"{hazard.name}:{hazard.subject}" in allowed)
        for hazard in sorted(found, key=lambda hazard: (hazard.name, hazard.subject))
    )


def old_commit(commit: str, applied: str, by: str, allowed: Collection[str]) -> Hazard:
    """Return the hazard of a plan from a commit that does not follow from the one `applied`; `by` names that run."""
    return Hazard(
        "old-commit",
        f"commit {commit[:12]} does not descend from {applied[:12]}, which was applied by {by}",
        "what came with that one, such as a merge, would be taken back without anybody having decided so.",
        f"bring {applied[:12]} into this branch (`git merge`, `git rebase`) and plan again; if it is meant, or history "
        "was rewritten, add --allow old-commit.",
        allowed="old-commit" in allowed,
    )


def protected_deletions(changes: Iterable[Change]) -> tuple[Problem, ...]:
    """Return an error for each deletion of a protected resource; no flag lifts these.

    Protection is read from what was recorded, so deleting an entry does not lift its protection.
    """
    return tuple(
        Problem(
            "protected",
            f'"{change.address}" is protected and would be deleted',
            why="it was applied with `protect: true`; deleting its entry does not lift that.",
            fix="put it back with `protect: false`, apply, and delete it in a second change.",
        )
        for change in changes
        if change.action is Action.DELETE
        and change.reason != FORGOTTEN
        and change.before is not None
        and change.before.own().get("protect")
    )


def declared_removals(forgotten: Iterable[str], desired: Collection[str]) -> tuple[Problem, ...]:
    """Return an error for each address that the manifests declare and say to forget."""
    return tuple(
        Problem(
            "removed-and-declared",
            f'"{address}" stands under `removed`, and the manifests declare it',
            why="it cannot be managed here and be let go of.",
            fix="take out one of the two.",
            where=address,
        )
        for address in sorted(forgotten)
        if address in desired
    )


def _shares(changes: Sequence[Change], recorded: int, limits: Limits) -> list[Hazard]:
    found = []
    for action, name, limit in (
        (Action.DELETE, "mass-delete", limits.deletes),
        (Action.UPDATE, "mass-update", limits.updates),
    ):
        hit = [
            change.address for change in changes if change.action is action and change.reason not in (RESENT, FORGOTTEN)
        ]
        if limit is not None and recorded >= SHARE_FROM and len(hit) > limit * recorded:
            found.append(
                Hazard(
                    name,
                    f"{len(hit):,} of {recorded:,} recorded resources ({len(hit) / recorded:.0%}) would be "
                    f"{action.value}d; the limit is {limit:.0%}",
                    "a mistake in a pattern or a folder that vanished looks exactly like this.",
                    f"look at the list; if it is meant, add --allow {name}, or raise guardrails.{action.value}s.",
                    count=len(hit),
                    addresses=tuple(hit[:EXAMPLES]),
                )
            )
    if limits.max_changes is not None and len(changes) > limits.max_changes:
        found.append(
            Hazard(
                "too-many-changes",
                f"{len(changes):,} changes; the limit is {limits.max_changes:,}",
                "more than a reviewer can read.",
                "split the change; if it is meant, add --allow too-many-changes, or raise guardrails.maxChanges.",
                count=len(changes),
            )
        )
    return found


def _emptied(
    changes: Sequence[Change], desired: Iterable[str], recorded: Collection[str], lapsed: Lapsed
) -> list[Hazard]:
    # Without `before` nobody knows whether it ever arrived, so nothing of what is recorded goes with it.
    gone = [
        change.address
        for change in changes
        if change.action is Action.DELETE and change.before and change.reason != FORGOTTEN
    ]
    deleted = Counter(map(_home, gone))
    surprising = {
        _home(address) for address in gone if address.kind is not Kind.ALIAS or not lapsed.explains_alias(address)
    }
    if not surprising:
        return []
    inhabited = {_home(address) for address in desired}
    before = Counter(_home(address) for address in recorded)
    return [
        Hazard(
            "emptied",
            f'every {kind} of "{scope}" would be deleted ({count:,} of {before[home]:,})',
            'empty is never taken for "delete all": a file or section may have vanished by mistake.',
            f"bring the entries back; if it is meant, add --allow emptied:{home}.",
            subject=home,
            count=count,
        )
        for home, count in deleted.items()
        if home in surprising and home not in inhabited
        for kind, _, scope in (home.partition("/"),)
    ]


def _home(address: str) -> str:
    return address[: address.index("/", address.index("/") + 1)]


def _emptied_groups(changes: Iterable[Change], lapsed: Lapsed) -> list[Hazard]:
    found = []
    for change in changes:
        if change.action is not Action.UPDATE or change.address.kind not in GROUP_KINDS:
            continue
        before, after = change.before, change.after
        if before is None or after is None or after.own()["members"]:
            continue
        members = before.own()["members"]
        count = len(members)
        if count and not lapsed.explains_members(change.address, members):
            found.append(
                Hazard(
                    "emptied-group",
                    f'"{change.address}" would lose all of its {count:,} members',
                    "everybody who sees something through this group would be locked out.",
                    f"bring the members back; if it is meant, add --allow emptied-group:{change.address}.",
                    subject=str(change.address),
                    count=count,
                )
            )
    return found
