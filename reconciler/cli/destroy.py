"""`reconciler destroy`: an apply of nothing, by the same path."""

from __future__ import annotations

import click

from reconciler.cli.options import apply_options, project_options


@click.command("destroy")
@project_options
@apply_options
def command(
    directory: str | None,
    environment: str | None,
    detail: str,
    auto_approve: bool,
    no_batch: bool,
    lock_timeout: float,
) -> int:
    """Delete everything that the state records, and nothing else.

    Manifests are not read. Protected resources are refused.
    """
    from reconciler.cli.applying import Approval, apply_planned
    from reconciler.cli.session import make_destroy_plan, open_session
    from reconciler.planning.wish import Wish

    wish = Wish(allowed=("emptied", "emptied-group"), removal="destroy")
    with open_session(directory, environment, use_cache=False) as session:
        planned = make_destroy_plan(session, wish, batching="never" if no_batch else "auto")
        approval = Approval(auto=auto_approve, question="Delete all of this?", detail=detail)
        return apply_planned(session, planned, approval, lock_timeout=lock_timeout)
