"""Synthetic pictures of captions, drawn by a text-to-image model into a folder; a run that was stopped goes on.

FOLDER/manifest.json       what drew the pictures; a run with other settings is refused
FOLDER/pictures.jsonl      one line a picture: name, caption, seed, flagged
FOLDER/0000/00000012.png   the picture of caption 12, a thousand to a folder

A picture depends on its caption, its seed and the painter's settings alone, not on its batch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from segue.data.images import write_image
from segue.files import write_text
from segue.types import InputError, to_install

MANIFEST, PICTURES = "manifest.json", "pictures.jsonl"


class Painted(NamedTuple):
    """image: (H, W, 3) uint8 RGB. flagged: the model's own safety checker blacked it out."""

    image: NDArray[np.uint8]
    flagged: bool = False


class Painter(Protocol):
    """What draws pictures."""

    def settings(self) -> dict[str, Any]:
        """Everything that decides how a picture looks, json-able."""
        ...

    def paint(self, captions: Sequence[str], seeds: Sequence[int]) -> list[Painted]:
        """One picture for each caption, from its own seed."""
        ...


def generate_pictures(
    captions: Sequence[str],
    folder: Path,
    painter: Painter,
    *,
    seed: int = 0,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Draw a picture for every caption that has none in the folder yet; return the files, one for each caption.

    Call it again with the same captions and settings to go on after a stop. progress: (pictures there, captions).
    Raises InputError when the folder's pictures were drawn with other settings or of other captions.
    """
    if not captions:
        raise InputError("generate: got no caption, expected one or more; check the corpus")
    if batch < 1:
        raise InputError(f"batch: got {batch}, expected 1 or more")
    _claim(folder, {"painter": painter.settings(), "seed": seed})
    names = [f"{i // 1000:04}/{i:08}.png" for i in range(len(captions))]
    done = _drawn(folder, captions, names)
    todo = [i for i in range(len(captions)) if i not in done]
    for start in range(0, len(todo), batch):
        part = todo[start : start + batch]
        seeds = [int(np.random.SeedSequence([seed, i]).generate_state(1)[0]) for i in part]
        painted = painter.paint([captions[i] for i in part], seeds)
        rows = []
        for i, number, (image, flagged) in zip(part, seeds, painted, strict=True):
            write_image(image, folder / names[i])
            rows.append({"name": names[i], "caption": captions[i], "seed": number, "flagged": flagged})
        _append(folder / PICTURES, rows)
        if progress is not None:
            progress(len(done) + start + len(part), len(captions))
    return [folder / name for name in names]


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Write the folder's manifest, or compare with the one that is there."""
    path = folder / MANIFEST
    if path.exists():
        there = _json(path.read_text(encoding="utf-8"), str(path))
        if there != json.loads(json.dumps(settings)):
            raise InputError(
                f"{folder}: its pictures were drawn with {json.dumps(there)}, got {json.dumps(settings)}; "
                "name another folder, or use its settings"
            )
        return
    write_text(path, json.dumps(settings, indent=2) + "\n")


def _drawn(folder: Path, captions: Sequence[str], names: list[str]) -> set[int]:
    """Which captions have their picture. A last line that was cut by a stop is cut away: its picture is drawn again."""
    path = folder / PICTURES
    if not path.exists():
        return set()
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if whole != raw:
        with path.open("r+b") as file:
            file.truncate(len(whole))
    places, found = {name: i for i, name in enumerate(names)}, set()
    for number, line in enumerate(whole.decode("utf-8").split("\n")[:-1], 1):
        row = _json(line, f"{path}, line {number}")
        i = places.get(row["name"])
        if i is None:
            continue  # of a longer list of captions than today's
        if row["caption"] != captions[i]:
            raise InputError(
                f"{folder}: {row['name']} is of the caption {row['caption']!r}, now {captions[i]!r} has its place; "
                "name another folder, or use the captions in their old order"
            )
        if (folder / names[i]).exists():
            found.add(i)
    return found


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        file.flush()
        os.fsync(file.fileno())


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: not readable as JSON ({error}); draw into a new folder") from error


class Sketchbook:
    """The sketchbook's `synthetic` style: draws what it understands of a caption and passes over the rest.

    size: side in pixels.
    """

    def __init__(self, size: int = 128) -> None:
        self.size = size

    def settings(self) -> dict[str, Any]:
        """See `Painter`."""
        return {"model": "sketchbook", "size": self.size}

    def paint(self, captions: Sequence[str], seeds: Sequence[int]) -> list[Painted]:
        """See `Painter`."""
        from segue.synthetic.scenes.language.parser import scene_of
        from segue.synthetic.scenes.render import render

        scenes = (scene_of(caption, seed, strict=False) for caption, seed in zip(captions, seeds, strict=True))
        return [Painted(render(scene, self.size, "synthetic").image) for scene in scenes]

    @staticmethod
    def understands(caption: str) -> bool:
        """Whether the caption names anything that it can draw."""
        from segue.synthetic.scenes.language.parser import parse

        request = parse(caption, strict=False)
        return bool(request.things or request.stuffs)


class StableDiffusion:
    """Stable Diffusion by diffusers; the paper's setting is v1-5, 20 steps, 512x512.

    source: a folder that diffusers saved, or a name on the hub. size: side in pixels, a multiple of 8. guidance: how
    closely to follow the caption; 1 or less is off. precision: "float32" or "float16" (for a GPU).
    """

    def __init__(
        self,
        source: str | Path,
        *,
        steps: int = 20,
        size: int = 512,
        guidance: float = 7.5,
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        if steps < 1:
            raise InputError(f"steps: got {steps}, expected 1 or more; the paper takes 20")
        if size < 8 or size % 8:
            raise InputError(f"size: got {size}, expected a multiple of 8; the paper takes 512")
        if precision not in ("float32", "float16"):
            raise InputError(f"precision: got {precision!r}, expected float32 or float16")
        self.source, self.steps, self.size, self.guidance = str(source), steps, size, guidance
        self.device, self.precision = device, precision
        self.pipeline = _pipeline(self.source, device, precision)

    def settings(self) -> dict[str, Any]:
        """See `Painter`; the device is no part of it."""
        names = ("source", "steps", "size", "guidance", "precision")
        return {"model": "stable-diffusion"} | {name: getattr(self, name) for name in names}

    def paint(self, captions: Sequence[str], seeds: Sequence[int]) -> list[Painted]:
        """See `Painter`. The noise is drawn on the CPU, so that a GPU starts from the same."""
        import torch

        drawn = self.pipeline(
            list(captions),
            num_inference_steps=self.steps,
            height=self.size,
            width=self.size,
            guidance_scale=self.guidance,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            output_type="np",
        )
        flags = getattr(drawn, "nsfw_content_detected", None) or [False] * len(captions)
        images = (drawn.images * 255).round().astype(np.uint8)
        return [Painted(image, bool(flag)) for image, flag in zip(images, flags, strict=True)]


def _pipeline(source: str, device: str, precision: str) -> Any:
    try:
        import torch
        from diffusers import DiffusionPipeline
    except ImportError as error:
        raise InputError(f"drawing pictures of captions needs diffusers: {to_install('generate')}") from error
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            source, torch_dtype=getattr(torch, precision), use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source}: no text-to-image model of diffusers can be read there ({str(error).splitlines()[0]}); name a "
            "folder with model_index.json, or a model of the hub when there is a network"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
