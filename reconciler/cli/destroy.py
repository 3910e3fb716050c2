"""`reconciler destroy`: an apply of nothing, by the same path."""

from __future__ import annotations

import click

from reconciler.cli.options import allow_option, apply_options, format_option, project_options, refresh_option


@click.command("destroy")
@project_options
@allow_option
@apply_options
@refresh_option
@format_option("text", "json")
def command(
    directory: str | None,
    environment: str | None,
    allowed: tuple[str, ...],
    detail: str,
    auto_approve: bool,
    no_batch: bool,
    lock_timeout: float,
    parallelism: int,
    refresh_identities: bool,
    output: str,
) -> int:
    """Delete everything that the state records.

    Nothing else goes, except from sources and providers that are declared exclusive: what they hold beside it goes
    too, and the plan says so. Manifests are not read. Protected resources are refused.

    Example:

    \b
        reconciler destroy --detail names
    """
    from reconciler.cli.applying import Approval, Terms, apply_planned
    from reconciler.cli.makeplan import make_destroy_plan
    from reconciler.cli.session import open_session
    from reconciler.planning.wish import Wish

    wish = Wish(allowed=(*allowed, "emptied", "emptied-group"), removal="destroy")
    with open_session(directory, environment, use_cache=False) as session:
        terms = Terms(
            approval=Approval(auto=auto_approve, question="Delete all of this?", detail=detail),
            allowed=allowed,
            lock_timeout=lock_timeout,
            parallelism=parallelism,
            output=output,
            refresh_identities=refresh_identities,
        )
        return apply_planned(
            session, lambda: make_destroy_plan(session, wish, batching="never" if no_batch else "auto"), terms
        )
