"""What can be wrong with a state in an object store, said as problems.

Nothing of an error's text goes into a problem but the status and the code that the store answered with: the text
may hold addresses with signatures.
"""

from __future__ import annotations

from reconciler.problems import Problem, StateError
from reconciler.state.sqlite.faults import KEY_VARIABLE

_NOTHING_LOST = "what was recorded before is kept; the store says exactly what was accepted."


def unreachable(where: str, detail: str) -> StateError:
    """No answer, or none that helps, after all attempts."""
    return StateError(
        Problem(
            code="state-unreachable",
            what=f"the store of the state cannot be used: {detail}",
            why=f"no call is sent that cannot be recorded; {_NOTHING_LOST}",
            fix="check the network and the store's address, then run the same command again.",
            where=where,
        )
    )


def access_denied(where: str, detail: str) -> StateError:
    """The store knows us not, or does not let us."""
    return StateError(
        Problem(
            code="state-access-denied",
            what=f"the store of the state refuses access: {detail}",
            fix="give credentials that may read, write, list and delete objects under the state's prefix "
            "(for a plan: read and list).",
            where=where,
        )
    )


def no_bucket(where: str) -> StateError:
    """The bucket or container is not there, which is no empty state."""
    return StateError(
        Problem(
            code="state-no-bucket",
            what="the bucket or container of the state does not exist",
            why="a state that cannot be found is not an empty one: going on would send everything again.",
            fix="check its name and the endpoint; for a new state create the bucket first.",
            where=where,
        )
    )


def unfit(where: str, detail: str) -> StateError:
    """The store cannot keep two runs apart."""
    return StateError(
        Problem(
            code="state-store-unfit",
            what=f"this object store cannot keep a state: {detail}",
            why="two runs at once could undo each other's changes, and nobody would notice.",
            fix="use a store with conditional writes (If-None-Match and If-Match on PUT), or PostgreSQL.",
            where=where,
        )
    )


def encrypted(where: str) -> StateError:
    """No key for what is not plain."""
    return StateError(
        Problem(
            code="state-encrypted",
            what="the state is encrypted, and there is no key to read it with",
            fix=f"put the key into {KEY_VARIABLE}.",
            where=where,
        )
    )


def not_encrypted(where: str) -> StateError:
    """A state that must be encrypted is in clear."""
    return StateError(
        Problem(
            code="state-not-encrypted",
            what="the state is not encrypted, and the environment says `encryptState: true`",
            why="what is recorded would be written down in clear; and what is there already stays so in its objects.",
            fix=f"put a key into {KEY_VARIABLE} and move it to another prefix, where it is encrypted:\n"
            "    reconciler state migrate --to URL",
            where=where,
        )
    )


def key_wrong(where: str, name: str) -> StateError:
    """A key that does not open an object."""
    return StateError(
        Problem(
            code="state-key-wrong",
            what=f'the key in {KEY_VARIABLE} does not open the object "{name}"',
            why="it was encrypted with another key, or was altered since; nobody can tell which.",
            fix="give the key of this state; if that is this one, restore the object from a version in the store.",
            where=where,
        )
    )


def bad_url(shown: str, detail: str, fix: str) -> StateError:
    """The address is none that we know how to open."""
    return StateError(Problem(code="state-url", what=f"the state's address {detail}", fix=fix, where=shown))


def corrupt(where: str, name: str, detail: str) -> StateError:
    """An object that is damaged, missing or strange."""
    return StateError(
        Problem(
            code="state-corrupt",
            what=f'the object "{name}" of the state is damaged: {detail}',
            why="the state can no longer say what was accepted.",
            fix="copy everything under the prefix away before anything else; then bring the object back (from an "
            "earlier version, if the bucket keeps versions), or restore the state from a copy (`state push`).",
            where=where,
        )
    )


def replaced(where: str) -> StateError:
    """What we go on from is not there any more."""
    return StateError(
        Problem(
            code="state-replaced",
            what="the state, or the local copy of it, was removed or replaced during this run",
            why="what this run records would not follow what it began with.",
            fix="find out who emptied it; then run `reconciler plan` to see what is left.",
            where=where,
        )
    )


def bad_copy(where: str, path: str, error: StateError) -> StateError:
    """The local copy is damaged: that costs time, and nothing else."""
    return StateError(
        Problem(
            code="state-copy-damaged",
            what=f'the local copy of the state, "{path}", cannot be read: {error.problems[0].what}',
            why="the state itself is in the store and is not touched by this.",
            fix="run the same command again: the copy is made anew.",
            where=where,
        )
    )
