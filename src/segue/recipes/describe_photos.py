"""Training of the photographs' describer: captions of pictures with objects, then masks of what boxes are around.

segue train describe-photos --data flickr8k --detector yolox.onnx --regions coco_tiny msrc

Pictures without regions get a detector's. The frozen encoders read each picture once; the features are kept in the
cache. The decoder begins with the weights of the captioner, which learned from text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from segue.api.describer import Describer
from segue.api.photographs import PhotographReader, PhotoPredictor, read_photographs_by
from segue.data import rle
from segue.data.embedding_store import EmbeddingStore, Item, StorePlan, fill_store, show_progress
from segue.data.formats import detect_format, read_pictures
from segue.data.formats.names import link
from segue.data.tokenizer import CaptionTokenizer
from segue.evaluation.photo_splits import read_photo_split
from segue.evaluation.reports.grounded_captions import grounded_examples
from segue.methods.sgdiff.graph import SceneGraph, build_graph, find_prompt_node
from segue.methods.sgdiff.losses import mask_losses
from segue.methods.sgdiff.photographs.checkpoint import PhotoCheckpoint, restore_photographs, save_photographs
from segue.methods.sgdiff.photographs.generator import PhotoGenerator
from segue.methods.sgdiff.photographs.network import PhotoDescriber, PhotoDescriberConfig, with_margin
from segue.methods.sgdiff.photographs.reading import ReadPhotograph, encode_names, pack_prompts, pixels_of_rgb
from segue.metrics.acceptance import calibrate, fit_acceptance, judge_captions
from segue.metrics.captions import score_captions
from segue.options import DescribeOptions, Dtype
from segue.recipes.datasets import begin_run
from segue.recipes.detections import detect_once
from segue.recipes.settings import OutFolder, TrainSettings, dataset_name, fit_options, keep_settings, settings_as_text
from segue.training import fit
from segue.training.state import has_state, read_metadata
from segue.types import InputError, Picture, PictureSet, Region

STUFF = {"grass", "tree", "sky", "mountain", "water", "road", "building"}  # of label maps, whose parts are no objects


@dataclass(frozen=True, kw_only=True)
class DescribePhotosSettings(TrainSettings):
    """One training. `out` also gets captions/, the run of the first stage.

    Attributes:
        data: captioned photographs in any format that Segue reads, with train and val.
        steps: optimiser steps of the first stage, the captions.
        batch_size: captions in a step.
        detector: what finds the objects of pictures that come without regions, as for `segue describe`.
        regions: further data with regions: masks are learned from theirs, and captions where they have any. Their
            train, or where they have no test, the first 160 by name.
        mask_steps: optimiser steps of the second stage, the masks.
        mask_batch: pictures in a step of the second stage.
        mask_lr: peak learning rate of the second stage.
        captioner: whose dual encoder, nearest captions and decoder it begins with: one like captions-photos.
        grid: cells a side of the coarsest feature map that the decoder reads.
        noise: of the whole picture's features in training, relative to their length.
        label_smoothing: of the captions' cross-entropy.
        cache: where detections and features are kept.
        val_pictures: of the validation split that are scored in training.
    """

    out: OutFolder = Path("runs/describe-photos")
    data: Path = Path("flickr8k")
    steps: int = 1500
    batch_size: int = 48
    lr: float = 5e-4
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.995
    evaluations: int = 6
    precision: Dtype = "bf16"
    half: bool = True
    on_bad: Literal["stop", "skip"] = "skip"
    detector: str | None = None
    regions: tuple[Path, ...] = ()
    mask_steps: int = 1200
    mask_batch: int = 8
    mask_lr: float = 2e-3
    captioner: str = "captions-photos"
    grid: int = 4
    noise: float = 0.3
    label_smoothing: float = 0.1
    cache: Path = Path("runs/cache")
    val_pictures: int = 200


def train_describe_photos(settings: DescribePhotosSettings = DescribePhotosSettings()) -> Path:
    """Train on captioned photographs; returns the checkpoint's folder.

    Raises InputError when the data or the settings can't be used.
    """
    begin_run(settings)
    reader = read_photographs_by(settings.captioner)
    model = begin_as_captioner(reader, settings)
    task, first = PhotoTask(model, reader.captioner.checkpoint.tokenizer, settings), settings.out / "captions"
    second = settings.resume and has_state(settings.out / "state")
    if second:  # the first stage is finished
        _check_captions_steps(settings, first)
    else:
        _train_captions(task.of("captions"), reader, settings, first)
    trained = restore_photographs(first / "best").model.state_dict()
    model.load_state_dict(trained)
    settings = replace(settings, resume=second)
    _train_masks(task.of("masks"), reader, settings)
    calibrate_scores(settings.out / "best", reader, settings)
    return settings.out / "best"


def _check_captions_steps(settings: DescribePhotosSettings, first: Path) -> None:
    trained = read_metadata(first / "state").get("options", {}).get("steps", settings.steps)
    if settings.steps != trained:
        raise InputError(
            f"steps: got {settings.steps}, but the captions of {settings.out} were trained for {trained}, and "
            f"its masks have begun; resume it with --steps {trained}, or train into another folder"
        )


def calibrate_scores(folder: Path, reader: PhotographReader, settings: DescribePhotosSettings) -> None:
    """Fit what a trained describer's scores mean on the validation split; says where it can't."""
    checkpoint = restore_photographs(folder)
    held_out = CaptionBatches(captioned_pictures(settings, "val"), reader, checkpoint.model.config, settings, "val")
    found = [some[0] for some in describe_held_out(checkpoint.model, held_out)]
    accepted = judge_captions([text for text, _ in found], [one.captions for one in held_out.pictures])
    features = np.log([[max(value, 1e-30)] for _, value in found])
    calibrate(folder, lambda: fit_acceptance(features, accepted), "its scores are no probabilities")


def begin_as_captioner(reader: PhotographReader, settings: DescribePhotosSettings) -> PhotoDescriber:
    """A describer whose decoder and picture's vectors have the captioner's weights."""
    theirs, tokenizer = reader.model, reader.captioner.checkpoint.tokenizer
    c = theirs.config
    config = PhotoDescriberConfig(
        encoder_width=theirs.encoder_width, neighbours=c.neighbours, grid=settings.grid, width=c.width,
        layers=c.layers, heads=c.heads, max_tokens=c.max_tokens, dropout=c.dropout,
    )  # fmt: skip
    torch.manual_seed(settings.seed)
    model = PhotoDescriber(config, len(tokenizer))
    state, first = model.state_dict(), config.picture_vectors
    for name, tensor in theirs.state_dict().items():
        if name == "decoder.position.weight":  # the new vectors come between the picture's and the words
            state[name][:first], state[name][config.prefix_length :] = tensor[:first], tensor[first:]
        elif name in state:
            state[name] = tensor
    model.load_state_dict(state)
    return model


class PhotoTask(nn.Module):
    """Trains the captions or the masks of a describer, whichever stage `of` chose."""

    def __init__(self, model: PhotoDescriber, tokenizer: CaptionTokenizer, settings: DescribePhotosSettings) -> None:
        super().__init__()
        self.model, self.tokenizer, self.settings, self.stage = model, tokenizer, settings, "captions"

    def of(self, stage: str) -> PhotoTask:
        """This task for a stage; the other's weights are frozen."""
        self.stage = stage
        for name, p in self.model.named_parameters():
            p.requires_grad_(name.startswith("mask_head.") == (stage == "masks"))
        return self

    def training_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """See `PhotoDescriber.caption_loss` and `mask_losses`."""
        if self.stage == "captions":
            picture = batch["picture"]
            noise = torch.randn_like(picture) * (self.settings.noise * picture.shape[-1] ** -0.5)
            return {
                "loss": self.model.caption_loss(batch | {"picture": picture + noise}, self.settings.label_smoothing)
            }
        names = self.model.embed_names(batch["names"])
        logits = self.model.mask_head(batch["levels"], batch["pixels"], batch["boxes"], names)
        cross, dice = mask_losses([logits], batch["masks"], batch["known"])
        return {"loss": cross + dice, "cross_entropy": cross, "dice": dice}


def _fit(
    task: PhotoTask,
    batches: Any,
    evaluate: Any,
    settings: DescribePhotosSettings,
    out: Path,
    illustrate: Callable[[Path], str] | None = None,
    **changes: Any,
) -> None:
    about = {"recipe": "segue train describe-photos", **dataset_name(settings.data)}
    about |= settings_as_text(settings, "cache", "regions", "detector", "captioner")

    def save(trained: nn.Module, folder: Path) -> None:
        checkpoint = PhotoCheckpoint(cast(PhotoTask, trained).model, task.tokenizer, settings.captioner, about)
        save_photographs(checkpoint, folder, small=settings.half and task.stage == "masks")

    fit(
        task,
        batches,
        out=out,
        options=fit_options(settings, **changes),
        save=save,
        evaluate=evaluate,
        monitor="score",
        about={name: text for name, text in about.items() if name not in ("steps", "mask_steps")},
        illustrate=illustrate,
        record=partial(keep_settings, settings),
        resume=settings.resume,
    )


def _illustrate(folder: Path, reader: PhotographReader, settings: DescribePhotosSettings) -> str:
    describer = Describer(PhotoPredictor(restore_photographs(folder), lambda: reader))
    return grounded_examples(describer, captioned_pictures(settings, "val")[: settings.val_pictures])


# ------------------------------------------------------------------------------------------------ captions


def _train_captions(task: PhotoTask, reader: PhotographReader, settings: DescribePhotosSettings, out: Path) -> None:
    train, val = (captioned_pictures(settings, split) for split in ("train", "val"))
    batches = CaptionBatches(train, reader, task.model.config, settings, "train")
    held_out = CaptionBatches(val[: settings.val_pictures], reader, task.model.config, settings, "val")
    _fit(task, batches, partial(_score_captions, held_out=held_out), settings, out)


def captioned_pictures(settings: DescribePhotosSettings, split: str) -> list[Picture]:
    """The captioned pictures of a split of all data, with regions and phrases; val is that of `data` alone.

    Raises InputError where there is none.
    """
    found = _captioned(read_pictures(settings.data, split, settings.on_bad), settings, f"{settings.data}: {split}")
    if split == "train":
        for folder in (one for one in settings.regions if one.resolve() != settings.data.resolve()):
            further = _train_of(folder, settings.on_bad)
            if any(picture.captions for picture in further.pictures):
                found += _captioned(further, settings, str(folder))
    return found


def _train_of(folder: Path, on_bad: str) -> PictureSet:
    splits = detect_format(folder)[1]
    return read_pictures(folder, "train", on_bad) if len(splits) > 1 else read_photo_split(folder, "train", on_bad)


def _captioned(pictures: PictureSet, settings: DescribePhotosSettings, where: str) -> list[Picture]:
    found = [picture for picture in pictures.pictures if any(caption.strip() for caption in picture.captions)]
    if not found:
        raise InputError(f"{where}: none of {len(pictures.pictures)} pictures has a caption")
    bare = [picture for picture in found if not picture.regions]
    if bare and settings.detector is None:
        raise InputError(f"{where}: {len(bare)} pictures have no regions; name a --detector that finds them")
    detected = with_detections(bare, settings.detector, settings.cache) if bare and settings.detector else {}
    return [linked(detected.get(picture.name, picture)) for picture in found]


def with_detections(pictures: Sequence[Picture], detector: str, cache: Path) -> dict[str, Picture]:
    """The pictures by name, with the regions that a detector finds in place of their own, kept in the cache."""
    items = [_item(picture) for picture in pictures]
    print(f"looking for objects in {len(items):,} pictures, once", flush=True)
    _, found = detect_once(items, detector, cache)
    regions = [
        tuple(Region(label, _box(box)) for label, box in zip(one.labels, one.boxes.tolist(), strict=True))
        for one in found
    ]
    return {
        picture.name: replace(picture, regions=some, relations=(), phrases=())
        for picture, some in zip(pictures, regions, strict=True)
    }


def _box(box: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, w, h = box
    return x, y, w, h


def linked(picture: Picture) -> Picture:
    """The picture with the phrases of its captions that name its regions."""
    if picture.phrases or not picture.regions:
        return picture
    return replace(
        picture, phrases=tuple(p for i, text in enumerate(picture.captions) for p in link(text, picture.regions, i))
    )


def _item(picture: Picture) -> Item:
    pixels = picture.load()
    key = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    return Item(picture.name, key, picture.load)


def graph_of(picture: Picture, size: tuple[int, int]) -> SceneGraph:
    """The graph of the picture's regions; one nameless node, the whole picture, where it has none."""
    if not any(r.box[2] > 0 and r.box[3] > 0 and not r.crowd for r in picture.regions):
        return SceneGraph(("",), np.array([[0, 0, *size]], np.float32), (), size)
    return build_graph(picture, size)[0]


class CaptionBatches:
    """Captions of pictures, each with the graph around an object that it names; a pure function of the keys."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        reader: PhotographReader,
        config: PhotoDescriberConfig,
        settings: DescribePhotosSettings,
        split: str,
    ) -> None:
        self.pictures, self.config, self.settings = list(pictures), config, settings
        self.tokenizer, self.sides = reader.captioner.checkpoint.tokenizer, coarse_sides(reader)
        self.store = coarse_features(self.pictures, reader, settings.cache, split)
        self.sizes = [picture.size or picture.load().shape[1::-1] for picture in self.pictures]
        self.graphs = [graph_of(one, (w, h)) for one, (w, h) in zip(self.pictures, self.sizes, strict=True)]
        pooled = [torch.from_numpy(rows[:, -reader.image_encoder.width :].copy()) for _, rows in self.store.chunks(512)]
        self.whole = torch.cat([reader.picture(part) for part in pooled]).half()

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, index: int) -> ReadPhotograph:
        """The features of a picture that captions need, from the cache."""
        row, levels, at = torch.from_numpy(self.store.take([index])[0]).float(), list[Tensor](), 0
        for channels, side in zip(self.config.levels[-2:], self.sides, strict=True):
            levels.append(row[at : at + channels * side**2].reshape(1, channels, side, side))
            at += channels * side**2
        return ReadPhotograph(levels, self.whole[index : index + 1].float(), None, self.graphs[index].size)

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The batch of a step: for each picture one of its captions, and an object that this names."""
        captions, prompts = [], []
        for epoch, index in keys:
            rng = np.random.default_rng([self.settings.seed, epoch, index])
            caption, prompt = self._draw(index, rng)
            captions.append(caption)
            prompts.append(prompt)
        indices = [index for _, index in keys]
        batch = self.pack(indices, prompts)
        tokens, real = self.tokenizer.encode(captions, self.config.max_tokens)
        return batch | {"tokens": tokens, "real": real}

    def pack(self, indices: Sequence[int], prompts: Sequence[int]) -> dict[str, Tensor]:
        """The inputs of pictures at the positions `indices` with prompts, nodes of their graphs."""
        graphs = [self.graphs[i] for i in indices]
        return pack_prompts([self.read(i) for i in indices], graphs, prompts, self.tokenizer, self.config)

    def _draw(self, index: int, rng: np.random.Generator) -> tuple[str, int]:
        picture, graph = self.pictures[index], self.graphs[index]
        caption = int(rng.choice([i for i, text in enumerate(picture.captions) if text.strip()]))
        named = sorted({r for p in picture.phrases if p.caption == caption for r in p.regions})
        if named:
            return picture.captions[caption], find_prompt_node(graph, picture.regions[int(rng.choice(named))].box)
        return picture.captions[caption], int(rng.integers(len(graph.labels)))

    def first_prompts(self) -> list[int]:
        """For each picture the node of the first noun of its captions; where they name none, the largest."""
        found = []
        for picture, graph in zip(self.pictures, self.graphs, strict=True):
            named = sorted((p.caption, p.start, p.regions) for p in picture.phrases if p.regions)
            box = picture.regions[named[0][2][0]].box if named else None
            largest = int(graph.boxes[:, 2:].prod(1).argmax())
            found.append(largest if box is None else find_prompt_node(graph, box))
        return found


def coarse_sides(reader: PhotographReader) -> tuple[int, int]:
    """The sides of the two coarsest feature maps."""
    encoder = reader.image_encoder
    return 2 * encoder.size // encoder.stride, encoder.size // encoder.stride


def coarse_features(pictures: Sequence[Picture], reader: PhotographReader, cache: Path, split: str) -> EmbeddingStore:
    """The two coarsest feature maps and the pooled features of pictures, a row each, from the store in `cache`."""
    encoder = reader.image_encoder
    width = sum(c * side**2 for c, side in zip(PhotoDescriberConfig().levels[-2:], coarse_sides(reader), strict=True))
    width += encoder.width
    items, plan = [_item(one) for one in pictures], StorePlan(encoder.fingerprint, "images", width, shard_rows=512)
    content = str([plan, [(item.name, item.content_key) for item in items]])
    folder = cache / f"{split}-maps-{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    @torch.no_grad()
    def embed(images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        levels = reader.levels(images)
        pooled = encoder.embed(levels[-1]).pooled
        rows: NDArray[np.float32] = torch.cat([*(level.flatten(1) for level in levels[-2:]), pooled], 1).cpu().numpy()
        return rows

    if not folder.exists():
        print(f"{split}: reading {len(items):,} pictures with the frozen encoder, once, to {folder}", flush=True)
    return fill_store(folder, items, embed, plan, progress=show_progress, wait=True)


def _score_captions(task: nn.Module, held_out: CaptionBatches) -> dict[str, float]:
    """CIDEr-D and BLEU-4 of the first caption around the first noun's object, against all captions of the picture."""
    texts = describe_held_out(cast(PhotoTask, task).model, held_out)
    references = {str(i): list(picture.captions) for i, picture in enumerate(held_out.pictures)}
    found = score_captions({str(i): some[0][0] for i, some in enumerate(texts)}, references, with_java=False).corpus
    cider, bleu = (float(cast(float, found[name])) for name in ("CIDEr-D", "BLEU-4"))
    return {"cider": cider, "bleu4": bleu, "score": cider}


def describe_held_out(model: PhotoDescriber, held_out: CaptionBatches) -> list[list[tuple[str, float]]]:
    """Captions and scores for each picture, around the object of the first noun of its captions."""
    generator, prompts, found = PhotoGenerator(model, held_out.tokenizer), held_out.first_prompts(), []
    for at in range(0, len(prompts), 50):
        rows = range(at, min(at + 50, len(prompts)))
        read, graphs = [held_out.read(i) for i in rows], [held_out.graphs[i] for i in rows]
        found += generator.captions(read, graphs, prompts[at : at + 50], DescribeOptions(num=1))
    return found


# --------------------------------------------------------------------------------------------------- masks


def _train_masks(task: PhotoTask, reader: PhotographReader, settings: DescribePhotosSettings) -> None:
    train, val = (MaskBatches(_with_masks(settings, split), reader, task, settings) for split in ("train", "val"))
    steps, size = settings.mask_steps, settings.mask_batch
    _fit(task, train, partial(_score_masks, held_out=val), settings, settings.out,
         partial(_illustrate, reader=reader, settings=settings),
         steps=steps, batch_size=size, lr=settings.mask_lr, seed=settings.seed + 1000)  # fmt: skip


def _with_masks(settings: DescribePhotosSettings, split: str) -> list[Picture]:
    """The pictures of `regions` that have masks. Raises InputError where there is none."""
    found = []
    for folder in settings.regions:
        some = _train_of(folder, settings.on_bad) if split == "train" else _val_of(folder, settings.on_bad)
        classes = some.classes
        found += [
            regions_of_labels(one, classes) if one.label_map and not one.regions else one for one in some.pictures
        ]
    found = [picture for picture in found if any(r.mask for r in picture.regions)]
    if not found:
        raise InputError(
            f"--regions: no picture of {split} has a region with a mask; name COCO's instances or label maps"
        )
    return found


def _val_of(folder: Path, on_bad: str) -> PictureSet:
    splits = detect_format(folder)[1]
    return read_pictures(folder, "val", on_bad) if len(splits) > 1 else read_photo_split(folder, "val", on_bad)


def regions_of_labels(picture: Picture, classes: Sequence[str], least: float = 0.01) -> Picture:
    """The picture with a region for each connected part of its label map, of things, of a share of `least` or more."""
    assert picture.label_map is not None
    labels, found = picture.label_map(), list[Region]()
    for value, name in enumerate(classes):
        if name in STUFF or not (labels == value).any():
            continue
        parts, count = ndimage.label(labels == value)
        for part in range(1, count + 1):
            mask = parts == part
            if mask.mean() >= least:
                code = rle.encode(mask)
                found.append(Region(name, _box(rle.box(code)), code))
    return replace(picture, regions=tuple(found), size=labels.shape[::-1])


class MaskBatches:
    """Regions with masks, cut to their boxes and a margin; a pure function of the keys, flipped and jittered."""

    REGIONS = 8  # of a picture in a step, drawn at random

    def __init__(
        self, pictures: Sequence[Picture], reader: PhotographReader, task: PhotoTask, settings: DescribePhotosSettings
    ) -> None:
        self.pictures, self.reader, self.settings = list(pictures), reader, settings
        self.tokenizer, self.side = task.tokenizer, task.model.config.mask_side
        self.read: dict[int, tuple[list[Tensor], NDArray[np.uint8]]] = {}

    def __len__(self) -> int:
        return len(self.pictures)

    def levels(self, index: int) -> tuple[list[Tensor], NDArray[np.uint8]]:
        """The feature maps (half precision) and pixels of a picture, read once."""
        if index not in self.read:
            image = self.pictures[index].load()
            self.read[index] = [level.half() for level in self.reader.levels([image])], image
        return self.read[index]

    def collate(self, keys: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The batch of a step."""
        rows = [self._row(index, np.random.default_rng([self.settings.seed, epoch, index])) for epoch, index in keys]
        most = max(len(one["boxes"]) for one in rows)

        def padded(name: str) -> Tensor:
            return torch.stack([F.pad(x := one[name], [0, 0] * (x.ndim - 1) + [0, most - len(x)]) for one in rows])

        known = torch.stack([torch.arange(most) < len(one["boxes"]) for one in rows])
        names = encode_names([[*one["names"], *[""] * (most - len(one["names"]))] for one in rows], self.tokenizer)
        boxes = padded("boxes")
        boxes[~known] = torch.tensor([0.0, 0.0, 1.0, 1.0])
        return {
            "levels": [torch.cat(some).float() for some in zip(*(one["levels"] for one in rows), strict=True)],
            "pixels": torch.cat([one["pixels"] for one in rows]),
            "boxes": boxes,
            "masks": padded("masks"),
            "known": known,
            "names": names,
        }

    def _row(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        picture, (levels, image) = self.pictures[index], self.levels(index)
        height, width = image.shape[:2]
        usable = [r for r in picture.regions if r.mask is not None and not r.crowd and min(r.box[2:]) >= 4]
        chosen = [usable[i] for i in rng.permutation(len(usable))[: self.REGIONS]]
        boxes = np.array([r.box for r in chosen], np.float32).reshape(-1, 4)
        boxes[:, 2:] *= 1 + rng.uniform(-0.1, 0.1, (len(boxes), 2))
        boxes[:, :2] += boxes[:, 2:] * rng.uniform(-0.06, 0.06, (len(boxes), 2))
        part = torch.from_numpy((boxes / [width, height, width, height]).astype(np.float32))
        masks = [crop_mask(r, box, self.side, (width, height)) for r, box in zip(chosen, part, strict=True)]
        pixels = F.interpolate(
            pixels_of_rgb(image), (224, 224), mode="bilinear", antialias=True
        )  # one size for a batch
        flip = rng.random() < 0.5
        if flip:
            levels, pixels = [level.flip(-1) for level in levels], pixels.flip(-1)
            part = torch.stack([1 - part[:, 0] - part[:, 2], *part[:, 1:].unbind(1)], 1)
            masks = [mask.flip(-1) for mask in masks]
        stacked = torch.stack(masks) if masks else torch.zeros(0, self.side, self.side)
        return {"levels": levels, "pixels": pixels, "boxes": part, "masks": stacked, "names": [r.label for r in chosen]}


def crop_mask(region: Region, box: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """The share of each cell of a grid over `with_margin(box)` that a region's mask covers, (side, side)."""
    assert region.mask is not None
    whole = torch.from_numpy(rle.decode(region.mask).astype(np.float32))[None, None]
    x, y, w, h = with_margin(box).tolist()
    fine = 4 * side
    at = (torch.arange(fine) + 0.5) / fine
    grid = torch.stack([(x + at * w)[None].expand(fine, -1), (y + at * h)[:, None].expand(-1, fine)], -1) * 2 - 1
    return F.avg_pool2d(F.grid_sample(whole, grid[None], mode="nearest", align_corners=False), 4)[0, 0]


def _score_masks(task: nn.Module, held_out: MaskBatches) -> dict[str, float]:
    """Mean IoU on the pictures' own grids of the masks of given boxes, and that of the filled boxes."""
    model = cast(PhotoTask, task).model
    generator, ours, filled = PhotoGenerator(model, held_out.tokenizer), [], []
    for picture in held_out.pictures:
        image = picture.load()
        read = held_out.reader.read(image)
        usable = tuple(r for r in picture.regions if r.mask is not None and not r.crowd and min(r.box[2:]) >= 4)
        if not usable:
            continue
        graph = build_graph(replace(picture, regions=usable, relations=(), phrases=()), read.size)[0]
        masks = generator.masks(read, graph, range(len(graph.labels)))
        for i, region in enumerate(usable):
            assert region.mask is not None
            truth, box = rle.decode(region.mask), np.zeros(image.shape[:2], np.bool_)
            x, y, w, h = (round(v) for v in region.box)
            box[y : y + h, x : x + w] = True
            predicted = masks[i][0] if i in masks else np.zeros_like(box)
            ours.append((predicted & truth).sum() / max((predicted | truth).sum(), 1))
            filled.append((box & truth).sum() / max((box | truth).sum(), 1))
    iou = float(np.mean(ours))
    return {"iou": iou, "iou_of_boxes": float(np.mean(filled)), "score": iou}
