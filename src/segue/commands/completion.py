"""`segue completion`: words that the shell completes, from the table of commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from inspect import Parameter, signature
from pkgutil import resolve_name
from typing import Any, Literal, get_type_hints

from tyro.conf import Positional

from segue.commands.parsing import prints_its_answer
from segue.commands.training import training_command

SCRIPT = """\
declare -A _segue_words=(
{words}
)
_segue() {{
    local at=segue word current=${{COMP_WORDS[COMP_CWORD]}}
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ -v _segue_words["$at $word"] ]] || break
        at+=" $word"
    done
    mapfile -t COMPREPLY < <(compgen -W "${{_segue_words[$at]}}" -- "$current")
}}
complete -o default -F _segue segue
"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def completion(shell: Positional[Literal["bash", "zsh"]], /) -> None:
    """Print what completes commands and options in bash or zsh.

    bash: `segue completion bash > ~/.local/share/bash-completion/completions/segue`; zsh: add `segue completion zsh` to
    a file that ~/.zshrc reads. It reads every command once, which takes some seconds.

    Args:
        shell: bash or zsh.
    """
    table, aliases = resolve_name("segue.cli:COMMANDS"), resolve_name("segue.cli:ALIASES")  # by name: they are above us
    lines = [f'    ["{at}"]="{" ".join(words)}"' for at, words in _words("segue", table, aliases)]
    print((ZSH if shell == "zsh" else "") + SCRIPT.format(words="\n".join(lines)), end="")


def _words(at: str, found: Any, aliases: dict[str, dict[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """(the words before, those that may follow) of each table of commands, and of each command its options."""
    if not isinstance(found, dict):
        yield at, _options(found)
        return
    found = found | {word: found[name] for word, name in aliases.get(at, {}).items()}
    yield at, [*found, "--help"]
    for name, where in found.items():
        yield from _words(f"{at} {name}", resolve_name(where) if isinstance(where, str) else where, aliases)


def _options(function: Callable[..., Any]) -> list[str]:
    """The options of a command; of a training those of its settings."""
    if "settings" in signature(function).parameters:
        function = training_command(function, "")
    hints = get_type_hints(function, include_extras=True)
    names = ["help", "quiet", "verbose", *(["json"] if prints_its_answer(function) else [])]
    for name, parameter in signature(function).parameters.items():
        if is_dataclass(hints[name]):
            names += [field.name for field in fields(hints[name])]
        elif parameter.kind is not Parameter.POSITIONAL_ONLY:
            names.append(name)
    return [f"--{name.replace('_', '-')}" for name in dict.fromkeys(names)]
