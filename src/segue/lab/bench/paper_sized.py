"""Data and weights of the sizes that the papers' recipes read, random: nothing is downloaded.

Pictures are blotches of 640 x 480 pixels; captions are of as many different words as COCO's, one in eight as long as
its longest.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import pre_tokenizers

from segue.data.formats.classes import COCO_PANOPTIC_STUFF, COCO_STUFF_171, COCO_STUFF_171_IDS, COCO_THINGS
from segue.data.formats.panoptic import segment_colours, segment_info

SIZE = (480, 640)  # height, width
WORDS, OCCURRENCES = 9000, 5  # COCO's words that occur five times or more
USUAL, LONGEST = 10, 50  # words of a caption
GRID = (3, 4)  # segments of a picture
PIECES = 49_408  # tokens of CLIP
CATEGORIES = [
    *({"id": COCO_STUFF_171_IDS[i], "name": name, "isthing": 1} for i, name in enumerate(COCO_THINGS)),
    *({"id": 200 + i, "name": name, "isthing": 0} for i, name in enumerate(COCO_PANOPTIC_STUFF)),
]


def draw_picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(480, 640, 3): blotches, which compress as a photograph does."""
    small = rng.integers(0, 256, (SIZE[0] // 20, SIZE[1] // 20, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC))


def draw_captions(rng: np.random.Generator, named: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """Captions that use up the words, each of which names two things."""
    left = list(words)
    while left:
        count = LONGEST if rng.random() < 1 / 8 else USUAL
        some, left = left[:count], left[count:]
        yield " ".join(["a", str(rng.choice(named)), *some, "and", "a", str(rng.choice(named))])


def random_words(rng: np.random.Generator) -> list[str]:
    """WORDS words of seven letters, each OCCURRENCES times, in a random order."""
    letters = rng.choice(list("abcdefghijklmnoprstuvwz"), (WORDS, 7))
    return [str(word) for word in rng.permutation(["".join(row) for row in letters] * OCCURRENCES)]


def write_coco(folder: Path, train: int = 8, val: int = 2) -> Path:
    """COCO's layout: captions, panoptic segments of 133 classes, stuff maps of 171, and Karpathy's dataset_coco.json.

    train, val: pictures. A picture of train has some hundreds of captions, so that all words are there.
    """
    rng, karpathy = np.random.default_rng(0), []
    words = random_words(rng)
    for split, count in (("train", train), ("val", val)):
        images, captions, segments = [], [], []
        for number in range(1 + 1000 * (split == "val"), 1 + 1000 * (split == "val") + count):
            name = f"{number:012d}"
            _save(folder / "images" / f"{split}2017" / f"{name}.jpg", draw_picture(rng))
            found, named = _write_segments(folder, split, name, rng)
            mine = words[number - 1 :: count] if split == "train" else words[:100]
            texts = [*draw_captions(rng, named, mine)]
            images.append({"id": number, "file_name": f"{name}.jpg", "width": SIZE[1], "height": SIZE[0]})
            captions += [{"id": 10_000 * number + i, "image_id": number, "caption": c} for i, c in enumerate(texts)]
            segments.append({"image_id": number, "file_name": f"{name}.png", "segments_info": found})
            place = {"filepath": f"images/{split}2017", "filename": f"{name}.jpg", "cocoid": number, "split": split}
            karpathy.append(place | {"sentences": [{"raw": text} for text in texts]})
        _write_json(folder / "annotations" / f"captions_{split}2017.json", images=images, annotations=captions)
        panoptic = {"images": images, "annotations": segments, "categories": CATEGORIES}
        _write_json(folder / "annotations" / f"panoptic_{split}2017.json", **panoptic)
    _write_json(folder / "dataset_coco.json", images=karpathy)
    return folder


def _write_segments(
    folder: Path, split: str, name: str, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], list[str]]:
    """Write a picture's panoptic PNG and stuff map; returns its segments_info, and the names of its things."""
    cell = np.kron(np.arange(np.prod(GRID)).reshape(GRID), np.ones((SIZE[0] // GRID[0], SIZE[1] // GRID[1]), np.int64))
    chosen = rng.permutation(len(CATEGORIES))[: np.prod(GRID)]
    chosen[0] = rng.integers(len(COCO_THINGS))
    ids = 1000 + cell.astype(np.int64)
    places = {f"annotations/panoptic_{split}2017": segment_colours(ids)}
    raw = np.array(COCO_STUFF_171_IDS)[rng.permutation(len(COCO_STUFF_171))][cell.astype(np.int64)] - 1
    places[f"stuffthingmaps/{split}2017"] = raw.astype(np.uint8)
    for place, pixels in places.items():
        _save(folder / place / f"{name}.png", pixels)
    info = [segment_info(1000 + i, int(CATEGORIES[c]["id"]), ids == 1000 + i) for i, c in enumerate(chosen.tolist())]
    return info, [str(CATEGORIES[c]["name"]) for c in chosen if CATEGORIES[c]["isthing"]]


def write_shards(folder: Path, pictures: int = 32) -> Path:
    """A webdataset shard as img2dataset leaves them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for i in range(pictures):
            buffer, two = io.BytesIO(), rng.choice(COCO_THINGS[:20], 2, replace=False)
            Image.fromarray(draw_picture(rng)).save(buffer, "JPEG")
            for end, data in (("jpg", buffer.getvalue()), ("txt", f"a {two[0]} and a {two[1]}".encode())):
                head = tarfile.TarInfo(f"00000{i:04d}.{end}")
                head.size = len(data)
                tar.addfile(head, io.BytesIO(data))
    return folder


def write_clip(folder: Path, patch: int) -> Path:
    """A CLIP with the sizes of ViT-B and patches of so many pixels."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    CLIPModel(CLIPConfig(vision_config={"patch_size": patch})).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(a, b) for a in letters for b in letters][: PIECES - 2 * len(letters) - 2]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *(a + b for a, b in pairs)]
    ids = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(f"{a} {b}" for a, b in pairs), ""]))
    _write_json(folder / "tokenizer_config.json", tokenizer_class="CLIPTokenizer")
    return folder


def write_vit_and_bert(folder: Path) -> tuple[Path, Path]:
    """A ViT-B/16 and a BERT base, whose words are those of the captions."""
    from transformers import BertConfig, BertModel, ViTConfig, ViTModel

    vit, bert = folder / "vit", folder / "bert"
    ViTModel(ViTConfig()).save_pretrained(vit)
    config = BertConfig()
    BertModel(config).save_pretrained(bert)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "and"]
    words += sorted({*random_words(np.random.default_rng(0))})
    words += [f"unused{i}" for i in range(config.vocab_size - len(words))]
    (bert / "vocab.txt").write_text("\n".join(words))
    _write_json(bert / "tokenizer_config.json", tokenizer_class="BertTokenizer", do_lower_case=True)
    return vit, bert


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _write_json(path: Path, **content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
