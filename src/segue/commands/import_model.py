"""`segue import`: a GroupViT of others as a folder of Segue's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def import_model(
    source: Positional[str],
    /,
    out: Annotated[Path, arg(aliases=["-o"])],
    tokenizer: str | None = None,
    json: bool = False,
) -> None:
    """Make a folder of Segue's from a GroupViT of the hub, or from a .pth of GroupViT's or CoCu's authors.

    Of a .pth the tensors alone are read: one that holds code is refused.

    Args:
        source: a hub id owner/name[@revision], a folder, or a .pth file.
        out: a folder that is not there yet.
        tokenizer: where none lies beside the weights, as beside a .pth: CLIP's bpe_simple_vocab_16e6.txt.gz, or a
            folder or hub id of a CLIP, such as openai/clip-vit-base-patch16.
        json: print one JSON object.
    """
    from segue.api.importing import import_groupvit
    from segue.commands.parsing import print_result

    print_result(import_groupvit(source, out, tokenizer=tokenizer), json)
