"""`segue describe`: a place on a picture, or a folder, in; grounded captions, overlays, pages and exports out."""

from __future__ import annotations

import hashlib
import json as jsonlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

from tyro.conf import Positional, arg

from segue import __version__
from segue.files import write_text
from segue.options import DescribeOptions
from segue.types import GroundedCaption, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segue.api.describer import Describer

Export = Literal["coco", "coco-rle", "grandf", "panoptic"]
SHOWN, INDEX = ("overlay", "html"), "index.html"
ANSWERS = ".answers"  # folder of what was answered for a folder's pictures, from which a stopped run resumes
FAR = "unlike the pictures that the model learned from: these captions may be wrong"
AS_POLYGONS = {"coco": True, "coco-rle": False}  # the kinds of --export that are one file a run
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Grounded captions of {title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 sans-serif; margin: 2em; color-scheme: light dark }}
section {{ display: flex; flex-wrap: wrap; gap: 1em }} h2 {{ width: 100%; font-size: 1em }}
figure {{ margin: 0; width: 240px }} img {{ width: 100% }} a {{ color: inherit; text-decoration: none }}
</style>
<h1>Grounded captions of {title}</h1>
{cards}
</html>
"""


class Answer(NamedTuple):
    """What was found in a picture.

    prompts: each with its captions and its files' names. objects: for the joined files. distance: of the picture from
    those that the model learned from.
    """

    prompts: list[dict[str, Any]]
    objects: dict[str, list[dict[str, Any]]]
    distance: float | None


@dataclass(frozen=True)
class Prompt:
    """What to describe; exactly one is given. A folder of pictures takes --every.

    Attributes:
        box: x,y,w,h in pixels; x and y of the top left corner.
        point: x,y: the smallest object there.
        mask: a PNG of the picture's size, white on what is meant.
        scribble: points as "x,y x,y x,y".
        every: each object of the picture by itself.
    """

    box: str | None = None
    point: str | None = None
    mask: Path | None = None
    scribble: str | None = None
    every: bool = False

    def given(self) -> dict[str, Any]:
        """What is given, by name."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class ObjectSource:
    """Where the picture's objects come from.

    Attributes:
        graph: the picture's objects and relations: json in Visual Genome's format, or COCO's instances.
        detector: what finds the objects when there is no graph: a YOLOX (an .onnx file), or a DETR (a folder, or
            facebook/detr-resnet-50@no_timm).
        relations: a folder of `segue train relations`: what relates objects that come without relations; without it
            they are related by where they lie.
        masks: what makes the masks in the model's place: a SAM (a folder, or facebook/sam-vit-base), or a Mask2Former.
        label: the name of what --box, --mask or --scribble is around, where nothing else is known of the picture.
        on_bad: what to do with objects and relations of the graph that can't be used: stop, or skip and name them.
    """

    graph: Path | None = None
    detector: str | None = None
    relations: Path | None = None
    masks: str | None = None
    label: str | None = None
    on_bad: Literal["stop", "skip"] = "stop"


def describe(
    image: Positional[Path],
    /,
    model: str = "describe-photos",
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    export: tuple[Export, ...] = (),
    strict: bool = False,
    json: bool = False,
    device: str = "auto",
    prompt: Prompt = Prompt(),
    objects: ObjectSource = ObjectSource(),
    options: DescribeOptions = DescribeOptions(),
) -> None:
    """Describe a box of a picture in several grounded captions: each phrase has its mask and score.

    A folder's run that was stopped resumes where it was.

    Args:
        image: a picture, or a folder of pictures.
        model: a bundled name or a checkpoint folder.
        out: folder for the overlays and the pages (default PICTURE.captions/PROMPT, or PICTURE.captions for every
            object).
        export: further files. coco is one for all pictures and objects, with polygons; coco-rle the same with run
            lengths, which keep every pixel in less space.
        strict: give no caption of a picture that is unlike those that the model learned from; without, warn of it.
        json: print one JSON object for each picture.
        device: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
        prompt: what to describe.
        objects: where the picture's objects come from.
        options: how captions are generated.
    """
    from segue.api.answers import domain_to_dict

    _arguments(prompt)  # a wrong one ends here, before anything is loaded
    if prompt.every and objects.label is not None:
        raise InputError("--label: names what one place is around; with --every give --graph or --detector")
    files = _pictures(image, prompt, out)
    name = image.resolve().name if image.is_dir() else image.stem
    folder = out or Path(f"{name}.captions") / _slug(prompt)
    job = _Job(_load(model, objects, device), prompt, objects, options, folder, export, strict)
    joined: dict[str, Path] = {kind: folder / f"{name}.{kind}.json" for kind in AS_POLYGONS if kind in export}
    parts: dict[str, list[dict[str, Any]]] = {kind: [] for kind in joined}
    cards, failed = [], []
    for file in files:
        try:
            answers, found, distance = job.resume(file) if image.is_dir() else job.run(file, alone=True)
        except InputError as error:
            if not image.is_dir():
                raise
            failed.append(str(error) if file.name in str(error) else f"{file.name}: {error}")
            continue
        for kind, some in found.items():
            parts[kind] += some
        cards.append(_card(file, answers, distance))
        for one in answers:
            one["files"] = [str(path) for path in (*(folder / name for name in one["files"]), *joined.values())]
        if json:
            about = {"image": str(file), **domain_to_dict(distance)}
            print(jsonlib.dumps({**about, "prompts": answers}, default=str))
        else:
            print("\n".join([*([file.name] if image.is_dir() else []), *_lines(answers)]))
    _write_joined(joined, parts)
    if image.is_dir():
        write_text(folder / INDEX, PAGE.format(title=escape(name), cards="\n".join(cards)))
        print(f"page    {folder / INDEX}", file=sys.stderr)
    if failed:
        raise InputError(f"{len(failed)} of {len(files)} pictures could not be described: " + "; ".join(failed))


def _load(model: str, objects: ObjectSource, device: str) -> Describer:
    from segue.api.describer import load_describer

    return load_describer(
        model, device=device, detector=objects.detector, relations=objects.relations, masks=objects.masks
    )


def _write_joined(joined: Mapping[str, Path], parts: Mapping[str, list[dict[str, Any]]]) -> None:
    from segue.data.export import join_coco

    for kind, path in joined.items():
        write_text(path, jsonlib.dumps(join_coco(parts[kind])))


@dataclass(frozen=True)
class _Job:
    """One run: a picture's answers are computed by `run`; `resume` takes those of an earlier run of the same job."""

    describer: Describer
    prompt: Prompt
    objects: ObjectSource
    options: DescribeOptions
    folder: Path
    export: tuple[Export, ...]
    strict: bool

    def resume(self, file: Path) -> Answer:
        """The answers for a folder's picture, kept on disk. Raises InputError for one that `strict` refuses."""
        from segue.commands.domain import check_far

        kept, about = self._kept(file), self._about(file)
        before = _before(kept, about, self.folder)
        if before is not None:
            check_far(file.name, before.distance, strict=self.strict)
            return before
        answer = self.run(file, alone=False)
        write_text(kept, jsonlib.dumps({"about": about, **answer._asdict()}))
        return answer

    def run(self, file: Path, *, alone: bool) -> Answer:
        """Each prompt with its captions and its files' names; and they as COCO's objects for the kinds of AS_POLYGONS.

        alone: the picture is not one of a folder. Answers kept of an earlier run are dropped: their files are replaced.
        Raises InputError for a picture that can't be read, and one that `strict` refuses.
        """
        from segue.commands.domain import check_far
        from segue.data.images import read_image

        pixels = read_image(file)
        known = _known(self.objects, file.name, pixels, alone=alone)
        distance = self.describer.measure_distances([pixels])[0]
        check_far(file.name, distance, strict=self.strict)
        self._kept(file).unlink(missing_ok=True)
        return Answer(*self._describe(file.name, pixels, known), distance)

    def _kept(self, file: Path) -> Path:
        return self.folder / ANSWERS / f"{file.stem}.json"

    def _about(self, file: Path) -> str:
        """What the answers depend on, as text."""
        objects = self.objects
        sources = (self.describer.folder, objects.detector, objects.graph, objects.masks, _relations_folder(objects))
        how = [__version__, asdict(self.prompt), asdict(self.options), self.objects.label, sorted(self.export)]
        return jsonlib.dumps([*how, *map(_version, sources), _version(file)], default=str)

    def _describe(
        self, image: str, pixels: NDArray[np.uint8], known: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
        from segue.api.answers import grounded_caption_to_dict
        from segue.data.export import to_coco, write_grounded_captions

        found: Iterable[tuple[Any, list[GroundedCaption]]]
        if self.prompt.every:
            found = self.describer.describe_objects(pixels, **known, options=self.options)
        else:
            place = _arguments(self.prompt)
            captions = self.describer.describe(pixels, **place, **known, label=self.objects.label, options=self.options)
            found = [(None, captions)]
        kinds, answers = (*SHOWN, *(kind for kind in self.export if kind not in AS_POLYGONS)), []
        coco: dict[str, list[dict[str, Any]]] = {kind: [] for kind in AS_POLYGONS if kind in self.export}
        for i, (box, captions) in enumerate(found, 1):
            name = f"{Path(image).stem}.{i}" if self.prompt.every else Path(image).stem
            written = write_grounded_captions(self.folder, name, pixels, captions, kinds, picture=image)
            about = {"box": box} if self.prompt.every else self.prompt.given()
            described = [grounded_caption_to_dict(caption) for caption in captions]
            answers.append({"prompt": about, "captions": described, "files": [file.name for file in written]})
            for kind, parts in coco.items():
                parts.append(to_coco([(image, captions)], as_polygons=AS_POLYGONS[kind], sizes=[pixels.shape[:2]]))
        return answers, coco


def _relations_folder(objects: ObjectSource) -> Path | None:
    from segue.api.models import find

    return None if objects.relations is None else find(objects.relations)


def _version(path: Path | str | None) -> list[Any]:
    """A file or a folder, and which version of it: when each of its files was written, and how long they are."""
    if path is None or not Path(path).exists():
        return [path]
    files = sorted(one for one in Path(path).iterdir() if one.is_file()) if Path(path).is_dir() else [Path(path)]
    return [str(Path(path).resolve()), *((s.st_mtime_ns, s.st_size) for s in (one.stat() for one in files))]


def _before(kept: Path, about: str, folder: Path) -> Answer | None:
    """The answers of an earlier run of the same job; None when there was none, or files are gone."""
    from segue.data.formats.files import read_json

    found = read_json(kept) if kept.is_file() else {}
    if found.get("about") != about or not all(
        (folder / file).is_file() for one in found["prompts"] for file in one["files"]
    ):
        return None
    return Answer(**{name: found[name] for name in Answer._fields})


def _slug(prompt: Prompt) -> str:
    """A folder's name for one prompt, so that a further one doesn't take its files; "" for every object."""
    if prompt.every:
        return ""
    named = str(prompt.mask.resolve()) if prompt.mask else prompt.box or prompt.point or prompt.scribble or ""
    plain = re.sub(r"[^\w.,-]+", "-", Path(named).stem if prompt.mask else named)
    if prompt.mask is None and len(plain) < 60:
        return plain
    return f"{plain[:50].lstrip('.')}-{hashlib.sha256(named.encode()).hexdigest()[:8]}"


def _pictures(image: Path, prompt: Prompt, out: Path | None) -> list[Path]:
    """The picture, or those of a folder."""
    from segue.data.picture_files import check_out_folder, pictures_in

    if out is not None:
        check_out_folder(out, image if image.is_dir() else image.parent, "captions")
    if not image.is_dir():
        _check_name(image)
        return [image]
    if not prompt.every:
        raise InputError(f"{image}: a folder of pictures takes --every, because a place is one picture's")
    files = pictures_in(image)
    for file in files:
        _check_name(file)
    if twice := [stem for stem, count in Counter(path.stem for path in files).items() if count > 1]:
        raise InputError(f"{image}: two pictures are called {twice[0]}, and so would their captions; rename one")
    return files


def _check_name(image: Path) -> None:
    """Raise InputError for a name whose bytes are no UTF-8, which no page and no json could hold."""
    try:
        image.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{image.name!r}: a file name that is not UTF-8; rename this picture") from error


def _known(objects: ObjectSource, name: str, pixels: NDArray[np.uint8], alone: bool) -> dict[str, Any]:
    """The picture's regions and relations in a file with graphs, where one is given. alone: as in `read_graph`."""
    from segue.data.formats.scene_graph import read_graph

    if objects.graph is None:
        return {}
    height, width = pixels.shape[:2]
    regions, relations = read_graph(objects.graph, name, (width, height), only_picture=alone, on_bad=objects.on_bad)
    return {"regions": regions, "relations": relations}


def _card(image: Path, answers: list[dict[str, Any]], distance: float | None) -> str:
    """A picture on a folder's page: of each object the overlay of its first caption, and where the others are."""
    from segue.api.answers import domain_to_dict
    from segue.data.export import worth_in_words

    far = f" <i>{FAR}</i>" if domain_to_dict(distance)["out_of_domain"] else ""
    figures = []
    for i, one in enumerate(answers, 1):
        name, first = quote(f"{image.stem}.{i}"), one["captions"][0]
        caption = escape(first["caption"])
        figures.append(
            f'<a href="{name}.html"><figure><img loading="lazy" src="{name}.1.png" alt="{caption}">'
            f"<figcaption>{caption} <i>{worth_in_words(first)}</i></figcaption></figure></a>"
        )
    return f"<section><h2>{escape(image.name)}{far}</h2>{''.join(figures)}</section>"


def _arguments(prompt: Prompt) -> dict[str, Any]:
    """The place as arguments of `Describer.describe`. Raises InputError unless exactly one prompt is given."""
    given = prompt.given()
    if len(given) != 1:
        named = ", ".join(f"--{name}" for name in given) or "nothing"
        raise InputError(f"prompt: got {named}, expected one of --box, --point, --mask, --scribble, --every")
    if prompt.box:
        return {"box": _numbers(prompt.box, 4, "box", "x,y,w,h such as 20,30,40,50")}
    if prompt.point:
        return {"point": _numbers(prompt.point, 2, "point", "x,y such as 20,30")}
    if prompt.scribble:
        points = [_numbers(one, 2, "scribble", "points as 'x,y x,y'") for one in prompt.scribble.split()]
        return {"scribble": points}
    if prompt.mask:
        from segue.data.images import read_mask

        return {"mask": read_mask(prompt.mask)}
    return {}


def _numbers(text: str, count: int, name: str, expected: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count:
        raise InputError(f"--{name} {text!r}: expected {expected}, numbers with commas between them, in pixels")
    return found


def _lines(answers: list[dict[str, Any]]) -> list[str]:
    from segue.data.export import worth_in_words

    lines = []
    for one in answers:
        for caption in one["captions"]:
            lines.append(f"{worth_in_words(caption):<6}  {caption['caption']}")
            lines += [
                f"        {k['score']:.2f}  {k['phrase']} -> {k['label']}, {k['area']} px"
                for k in caption["groundings"]
            ]
        lines.append("files   " + "  ".join(one["files"]))
    return lines
