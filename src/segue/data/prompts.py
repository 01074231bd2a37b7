"""Text prompts: a text with {} in the place of a name, such as "a photo of a {}."."""

from __future__ import annotations

from segue.types import InputError


def check_prompt(prompt: str) -> None:
    """Raises InputError for a prompt without exactly one {}; other braces are text."""
    if prompt.count("{}") != 1:
        raise InputError(f"prompt: got {prompt!r}, expected one {{}} where the name goes")


def fill_prompt(prompt: str, name: str) -> str:
    """The prompt with the name in the place of its {}; other braces, also those of the name, stay as they are."""
    return prompt.replace("{}", name)
