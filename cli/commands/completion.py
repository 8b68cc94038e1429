# SPDX-License-Identifier: Apache-2.0
"""`completion`: the script that teaches a shell to complete `cipu-xdp`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cipu_xdp.cli.params import examples

PROGRAM = "cipu-xdp"
VARIABLE = "_CIPU_XDP_COMPLETE"


@click.command(
    epilog=examples(
        'eval "$(cipu-xdp completion bash)"',
        "cipu-xdp completion zsh > /usr/local/share/zsh/site-functions/_cipu-xdp",
        "cipu-xdp completion fish > ~/.config/fish/completions/cipu-xdp.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    `make install` puts all three where the shells look for them.
    """
    maker = get_completion_class(shell)
    if maker is None:  # a click without this shell
        raise click.UsageError(f"click does not know {shell}.")
    root = click.get_current_context().find_root().command
    click.echo(maker(root, {}, PROGRAM, VARIABLE).source())
