"""`segue import`: a GroupViT, a RecLMIS or a DeCap of others as a folder of Segue's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

CLIP = "openai/clip-vit-base-patch32"  # of RecLMIS and of DeCap


def import_model(
    source: Positional[str],
    /,
    out: Annotated[Path, arg(aliases=["-o"])],
    tokenizer: str | None = None,
    json: bool = False,
) -> None:
    """Make a folder of Segue's from a GroupViT of the hub, or from what GroupViT's, CoCu's, RecLMIS' or DeCap's authors
    released.

    Of a .pth or a .pt the tensors alone are read: one that holds code is refused.

    Args:
        source: a hub id owner/name[@revision], a folder, or a .pth or .pt file; RecLMIS' end in .pth.tar.
        out: a folder that is not there yet.
        tokenizer: where none lies beside the weights, as beside a .pth: CLIP's bpe_simple_vocab_16e6.txt.gz, or a
            folder or hub id of a CLIP, such as openai/clip-vit-base-patch16. For RecLMIS the CLIP whose text encoder
            reads the notes, for DeCap the one whose features its decoder reads; openai/clip-vit-base-patch32 unless
            given.
        json: print one JSON object.
    """
    from segue.api.importing import import_groupvit, is_released_file
    from segue.api.importing_captions import import_decap
    from segue.api.importing_notes import import_reclmis
    from segue.commands.parsing import print_result
    from segue.methods.cocu.groupvit.released import released_tensors
    from segue.methods.syntic.released import is_released

    path = Path(source)
    if source.endswith(".pth.tar"):
        print_result(import_reclmis(path, out, clip=tokenizer or CLIP), json)
        return
    tensors = released_tensors(path) if is_released_file(path) else None
    if tensors is not None and is_released(tensors):
        print_result(import_decap(tensors, path, out, clip=tokenizer or CLIP), json)
    else:
        print_result(import_groupvit(source, out, tokenizer=tokenizer, tensors=tensors), json)
