"""The command that teaches a shell minigan's words: completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from minigan.cli.choices import Names
from minigan.cli.help import Command

SHELLS = ("bash", "zsh", "fish")

# Not click's own, which drops the names that it has where paths are offered, too: no data set after `minigan train`.
BASH = """\
_minigan_completion() {
    local line word=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            plain,*) COMPREPLY+=("${line#*,}") ;;
            dir,*) compopt -o filenames; mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -d -- "$word") ;;
            file,*) compopt -o filenames; mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$word") ;;
        esac
    done < <(IFS=$'\\n'; env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _MINIGAN_COMPLETE=bash_complete "$1")
}
complete -F _minigan_completion minigan"""


@click.command("completion", cls=Command)
@click.argument("shell", type=Names("shell", lambda: SHELLS))
def completion_command(shell: str) -> None:
    """Print what makes bash, zsh or fish complete minigan's words.

    \b
    bash: in ~/.bashrc                eval "$(minigan completion bash)"
    zsh:  in ~/.zshrc, after compinit eval "$(minigan completion zsh)"
    fish: in ~/.config/fish/completions/minigan.fish
                                      minigan completion fish | source

    In a new shell TAB then offers commands, options, data sets, norms, networks, protocols, profiles, settings,
    runs and paths. bash has to be 4.4 or later.
    """
    if shell == "bash":
        click.echo(BASH)
        return
    kind = get_completion_class(shell)
    assert kind is not None, "click has these"
    click.echo(kind(click.get_current_context().find_root().command, {}, "minigan", "_MINIGAN_COMPLETE").source())
