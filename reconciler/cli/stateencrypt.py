"""`reconciler state encrypt` and `decrypt`: how the state is kept, not what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import project_options
from reconciler.cli.stateedit import lock_timeout_option
from reconciler.logs import tell
from reconciler.problems import Problem, StateError, UsageError

if TYPE_CHECKING:
    from reconciler.cli.session import Session
    from reconciler.settings import Secret
    from reconciler.state.sqlite.convert import Converted
    from reconciler.state.store import Store


@click.command("encrypt", short_help="Encrypt the recorded state, or give it another key.")
@click.option(
    "--new-key-env", "variable", metavar="NAME", help="Encrypt it with the key in this environment variable instead."
)
@lock_timeout_option
@project_options
def encrypt_command(directory: str | None, environment: str | None, variable: str | None, lock_timeout: float) -> int:
    """Encrypt the recorded state with the key in RECONCILER_STATE_KEY, and the copies of earlier formats beside it.

    With --new-key-env an encrypted state gets another key. What the state says stays as it is, its history included;
    nothing is sent to the remote. Killed at any moment, it is there in one form or the other.

    Example:

    \b
        RECONCILER_STATE_KEY=$(cat key) reconciler state encrypt -e prod
    """
    from reconciler.cli.session import open_session
    from reconciler.settings import STATE_KEY_VARIABLE, find_state_key

    name = variable or STATE_KEY_VARIABLE
    key = find_state_key(name)
    if key is None:
        raise UsageError(
            Problem(
                "state-key-needed",
                f"the environment variable {name} is not set",
                why="it holds the key to encrypt with; without that key nobody can read the state again.",
                fix="make a key, keep it safe, and put it there. To make one:\n"
                '    python -c "import secrets; print(secrets.token_hex(32))"',
            )
        )
    with open_session(directory, environment, use_cache=False) as session:
        done = _convert(session, key, lock_timeout)
        where = session.store.where
    if not done.exists:
        click.echo(
            f"nothing is recorded yet in {where}: the first run makes it, encrypted if {STATE_KEY_VARIABLE} is set"
        )
        return 0
    if not done.files:
        click.echo(f"{where} is encrypted with this key already")
        return 0
    click.echo(f"encrypted {where}; written anew: {', '.join(done.files)}")
    tell(
        "state.encrypted",
        "what was there before is removed, but freed blocks of the disk, snapshots and backups may still hold it",
    )
    if variable:
        tell("state.key", f"from now on the key in {variable} is the one to put into {STATE_KEY_VARIABLE}")
    return 0


@click.command("decrypt", short_help="Keep the recorded state without encryption again.")
@lock_timeout_option
@project_options
def decrypt_command(directory: str | None, environment: str | None, lock_timeout: float) -> int:
    """Keep the recorded state without encryption again, and the copies of earlier formats beside it.

    Example:

    \b
        reconciler state decrypt -e prod
    """
    from reconciler.cli.session import open_session

    with open_session(directory, environment, use_cache=False) as session:
        if session.project.environment.encrypt_state:
            raise UsageError(
                Problem(
                    "encryption-required",
                    f'environment "{session.project.environment.name}" keeps only encrypted states',
                    why="nothing could be written to the state afterwards.",
                    fix="take `encryptState: true` out of reconciler.yaml first.",
                )
            )
        done = _convert(session, None, lock_timeout)
        where = session.store.where
    if not done.exists:
        click.echo(f"nothing is recorded yet in {where}")
    elif not done.files:
        click.echo(f"{where} is not encrypted")
    else:
        click.echo(f"decrypted {where}; written anew: {', '.join(done.files)}")
    return 0


def is_clear_despite_key(store: Store) -> bool:
    """Return whether a local state is not encrypted although there is a key that it could be encrypted with."""
    from reconciler.state.sqlite.store import SqliteStore

    if not isinstance(store, SqliteStore) or store.key is None:
        return False
    try:
        return store.is_encrypted() is False
    except StateError:
        return False  # what is wrong with it is told by whoever reads it


def _convert(session: Session, key: Secret | None, lock_timeout: float) -> Converted:
    from reconciler.cli.identify import iso, lock_info
    from reconciler.state.opening import not_by_us
    from reconciler.state.sqlite.convert import convert
    from reconciler.state.sqlite.store import SqliteStore

    store = session.store
    if isinstance(store, SqliteStore):
        return convert(store, lock_info(iso()), key, timeout=lock_timeout)
    if session.project.environment.state.startswith("postgres"):
        raise not_by_us(store.where)
    raise StateError(
        Problem(
            "encryption-by-migration",
            "a state in an object store is not encrypted where it is",
            why="what was written before would stay there in clear, or under the old key, until the log is cut.",
            fix="move it to another prefix with the key set; there all of it is written encrypted:\n"
            "    reconciler state migrate --to URL",
            where=store.where,
        )
    )
