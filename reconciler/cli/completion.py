"""`reconciler completion`: what a shell reads so that it completes our command line."""

from __future__ import annotations

import click

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> int:
    """Print what SHELL (bash, zsh or fish) reads to complete commands, options and names.

    Names are environments, sources, providers and hazards, and of a state on this machine addresses and runs. The
    remote and stores on the network are not asked.

    \b
        bash   eval "$(reconciler completion bash)"              in ~/.bashrc
        zsh    eval "$(reconciler completion zsh)"               in ~/.zshrc, behind compinit
        fish   reconciler completion fish | source               in ~/.config/fish/config.fish

    Example:

    \b
        reconciler completion bash > reconciler-completion.bash
    """
    from reconciler.cli.completing import script_of
    from reconciler.cli.output import write

    write(script_of(shell, ctx.find_root().command))
    return 0
