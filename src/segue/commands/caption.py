"""`segue caption`: pictures in, captions out, on the screen or as COCO's results json."""

from __future__ import annotations

import json as jsonlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from segue.options import Decoding, Dtype
from segue.types import InputError

if TYPE_CHECKING:
    from segue.api.captioner import Caption

_NUMBERED = re.compile(r"(?:COCO_\w+_)?(\d{12})\.\w+")


def caption(
    image: Positional[Path],
    /,
    model: str = "captions-photos",
    encoder: str | None = None,
    support: Path | None = None,
    objects: tuple[str, ...] | None = None,
    detector: str | None = None,
    retrieve: bool = False,
    rerank: bool = True,
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    on_bad: Literal["stop", "skip"] = "stop",
    strict: bool = False,
    json: bool = False,
    device: str = "auto",
    dtype: Dtype = "auto",
    decoding: Decoding = Decoding(beams=3),
) -> None:
    """Caption a picture, or each picture of a folder, by a model trained on text alone.

    Pictures without a caption are named after the captions of the others, and why; the exit status is then 2.

    Args:
        image: a picture, or a folder of pictures.
        model: a bundled name or a checkpoint folder.
        encoder: where the model's dual encoder is, if it has moved: a name, a folder or clip:ID-OR-FOLDER.
        support: a file of captions to use instead of the model's own support set.
        objects: names of what is to be seen, instead of looking for it.
        detector: what finds objects, if that of training has moved: a YOLOX (an .onnx file), or a DETR (a folder, or
            facebook/detr-resnet-50@no_timm).
        retrieve: take the nearest captions of the support set and generate none.
        rerank: of the ten best captions take those that agree most with the support set's nearest, where the model's
            training found that to help; without it half of the time of a search is saved.
        out: also write each picture's best caption there, as COCO's results json; image_id is the 12-digit number that
            COCO names its pictures by, or the picture's name in the folder.
        on_bad: what to do with captions of the support file that can't be used: stop, or skip and name them.
        strict: give no caption of a picture that is unlike those that the model learned from; without, warn of it.
        json: print one JSON object for each picture.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
        dtype: what pictures are read in: bf16, or float32, which auto is.
        decoding: how captions are searched or sampled.
    """
    from segue.api.captioner import load_captioner
    from segue.commands.domain import refuse_far
    from segue.data.corpus import read_corpus

    paths = _paths(image)
    if out is not None and out.resolve() in {path.resolve() for path in (*paths, support) if path is not None}:
        raise InputError(f"{out}: is read here, captions would be written over it; name another --out")
    if out is not None and out.is_dir():
        raise InputError(f"{out}: a folder, expected the name of a json file to write; name one in it")
    texts = None if support is None else read_corpus(support, on_bad=on_bad).captions
    captioner = load_captioner(model, device=device, dtype=dtype, encoder=encoder, support=texts, detector=detector)
    rows, failed = [], list[str]()
    size = captioner.batch_size
    for start in range(0, len(paths), size):
        good = _readable(paths[start : start + size], failed)
        given = None if objects is None else [objects] * len(good)
        pixels = (array for _, array in good)
        found = captioner.caption_many(pixels, objects=given, retrieve=retrieve, rerank=rerank, options=decoding)
        for (path, _), captions in zip(good, found, strict=True):
            name = path.relative_to(image).as_posix() if image.is_dir() else path.name
            if refusal := refuse_far(name, captions[0].distance, strict=strict):
                failed.append(refusal)
                continue
            _print(name, captions, json)
            rows.append({"image_id": image_id(name), "caption": captions[0].text})
    if out is not None:
        _write(rows, out)
    if failed:
        raise InputError(f"{len(failed)} of {len(paths)} pictures have no caption: " + "; ".join(failed))


def image_id(name: str) -> int | str:
    """COCO's number when a file is named by its 12 digits ("000000000042.jpg", "COCO_val2014_000000000042.jpg").

    Otherwise its name, with the folders that it stands in.
    """
    number = _NUMBERED.fullmatch(name)
    return int(number[1]) if number else name


def _paths(image: Path) -> list[Path]:
    from segue.data.picture_files import pictures_in

    if not image.exists():
        raise InputError(f"{image}: no such file; give a picture or a folder of pictures")
    return pictures_in(image, deep=True) if image.is_dir() else [image]


def _readable(paths: Sequence[Path], failed: list[str]) -> list[tuple[Path, Any]]:
    """Pictures with their pixels; what is wrong with the others is added to `failed`."""
    from segue.data.ahead import ahead
    from segue.data.images import read_image

    def attempt(path: Path) -> tuple[Path, Any]:
        try:
            return path, read_image(path)
        except InputError as error:
            return path, error

    found = list(ahead(attempt, paths))
    failed += [str(pixels) for _, pixels in found if isinstance(pixels, InputError)]
    return [(path, pixels) for path, pixels in found if not isinstance(pixels, InputError)]


def _print(name: str, captions: Sequence[Caption], as_json: bool) -> None:
    if as_json:
        from segue.api.answers import domain_to_dict

        about = {"image": name, **domain_to_dict(captions[0].distance)}
        found = [caption.to_dict() for caption in captions]
        print(jsonlib.dumps({**about, "captions": found}, ensure_ascii=False), flush=True)
    else:
        print("\n".join(f"{name}  {c.text}" for c in captions), flush=True)


def _write(rows: list[dict[str, Any]], out: Path) -> None:
    from segue.files import write_text

    write_text(out, jsonlib.dumps(rows, ensure_ascii=False, indent=1) + "\n")
