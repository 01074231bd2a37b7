"""`segue import`: a GroupViT or a RecLMIS of others as a folder of Segue's."""

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
    """Make a folder of Segue's from a GroupViT of the hub, or from a .pth of GroupViT's, CoCu's or RecLMIS' authors.

    Of a .pth the tensors alone are read: one that holds code is refused.

    Args:
        source: a hub id owner/name[@revision], a folder, or a .pth file; RecLMIS' end in .pth.tar.
        out: a folder that is not there yet.
        tokenizer: where none lies beside the weights, as beside a .pth: CLIP's bpe_simple_vocab_16e6.txt.gz, or a
            folder or hub id of a CLIP, such as openai/clip-vit-base-patch16. For RecLMIS the CLIP whose text encoder
            reads the notes; openai/clip-vit-base-patch32 unless given.
        json: print one JSON object.
    """
    from segue.api.importing import import_groupvit
    from segue.api.importing_notes import import_reclmis
    from segue.commands.parsing import print_result

    if source.endswith(".pth.tar"):
        print_result(import_reclmis(Path(source), out, clip=tokenizer or "openai/clip-vit-base-patch32"), json)
    else:
        print_result(import_groupvit(source, out, tokenizer=tokenizer), json)
