"""The tiny joint model of the tests."""

from dataclasses import replace

import torch

from segue.methods.crossmodal.config import CrossModalConfig
from segue.methods.crossmodal.model import build_crossmodal

TINY = CrossModalConfig(codes=12, grid=(4, 4), patch=4, vocabulary=20, max_words=8, width=32, heads=4, depth=2)


def model(**changes):
    torch.manual_seed(0)
    return build_crossmodal(replace(TINY, **changes))


def batch(n=6, image=True, boxes=False):
    draw = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 12, (n, 4, 4), generator=draw)
    ids = torch.zeros(n, 8, dtype=torch.long)
    for row in range(n):
        length = 2 + row % 4
        ids[row, 0] = TINY.start
        ids[row, 1:length] = torch.randint(3, 20, (length - 1,), generator=draw)
        ids[row, length] = TINY.end
    picture = torch.rand(n, 3, 16, 16, generator=draw) if image else None
    painted = torch.randint(0, 5, (n, 8, 8), generator=draw, dtype=torch.uint8) if boxes else None
    return {"codes": codes, "ids": ids, "image": picture, "boxes": painted, "seed": list(range(n))}
