"""The command `segue`: thin over the API and the recipes; imports what a command needs when it runs."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from segue import __version__
from segue.files import write_text
from segue.types import InputError, to_install


def main(argv: list[str] | None = None) -> None:
    """Run one command. Bad input prints one line and exits with status 2; a warning of ours prints one line too."""
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, warnings.showwarning)
        _main(sys.argv[1:] if argv is None else argv)


def _show_warning(
    others: Callable[..., None], message: Warning | str, kind: type[Warning], file: str, *more: Any
) -> None:
    """others: shows what is no warning of Segue's own."""
    if kind is UserWarning and Path(file).is_relative_to(Path(__file__).parent):
        print(f"segue: warning: {message}", file=sys.stderr)
    else:
        others(message, kind, file, *more)


def _main(argv: list[str]) -> None:
    if argv == ["--version"]:
        print(f"segue {__version__}")
        return
    try:
        if argv[:1] == ["train"]:
            _train(argv[1:])
        elif argv[:1] == ["bench"]:
            _bench(argv[1:])
        elif argv[:1] == ["data"]:
            tyro.extras.subcommand_cli_from_dict(
                {"make": data_make, "check": data_check, "show": data_show, "outline": data_outline},
                prog="segue data",
                description="Make, check, show and outline data sets.",
                args=argv[1:],
            )
        elif argv[:1] == ["score"]:
            tyro.extras.subcommand_cli_from_dict(
                {"captions": score_captions, "masks": score_masks, "panoptic": score_panoptic},
                prog="segue score",
                description="Score predictions in files against references in files.",
                args=argv[1:],
            )
        else:
            tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="segue", description=HELP, args=argv)
        sys.stdout.flush()  # here, where a pipe that is broken is known
    except InputError as error:
        print(f"segue: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # who reads our output has seen enough; what is left of it goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a folder where a file is wanted, no right to write, a full disk
        if error.filename is None:
            raise
        print(f"segue: {error.filename2 or error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except ArithmeticError as error:  # a training that diverged, a graph that answers otherwise
        print(f"segue: {error}", file=sys.stderr)
        sys.exit(1)


def segment(
    image: Positional[Path],
    /,
    note: str | None = None,
    notes: Path | None = None,
    labels: str | None = None,
    model: str | None = None,
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    json: bool = False,
    threshold: float = 0.5,
    tta: bool = False,
    window: int = 0,
    explain: bool = False,
    card: str | None = None,
    background: float | None = None,
    hard: bool = False,
    prompt: str | None = None,
    top_k: int | None = None,
    coco: Path | None = None,
    device: str = "cpu",
) -> None:
    """Outline in a picture what its note describes, or name all its pixels with the likeliest of some labels.

    Args:
        image: a picture or a folder of pictures; with a note (--notes for a folder, or one --note for all) also a NIfTI
            or DICOM file.
        note: what to outline, in words; without note and labels the model makes its own guess.
        notes: a CSV with the columns image,note; the images are names inside the folder.
        labels: any two or more names, such as "dog, grass, sky"; one with a comma in double quotes.
        model: a bundled name or a checkpoint folder (reclmis-chest, or cocu-scenes with labels, unless given).
        out: the mask's or the map's file (an overlay is written beside it), or a folder for a folder of pictures.
        json: print one JSON object for each picture: areas, scores, files.
        threshold: notes: probability from which a pixel belongs to the mask.
        tta: notes: average with the mirrored picture under the note with its sides swapped.
        window: notes: slide a window of that many pixels over a large picture.
        explain: notes: also draw which patches and words counted, and Grad-CAM.
        card: labels: the protocol (voc, context, ade150, scenes, ...); the model's own unless given.
        background: labels: score below which a pixel is background; 0 for no background, the card's unless given.
        hard: labels: a pixel belongs to one group alone instead of softly to all; the card's way unless given.
        prompt: labels: the text with {} for the name, such as "a drawing of a {}."; the card's unless given.
        top_k: labels: how many of the names a picture may have, 0 for all; the card's unless given.
        coco: also write all masks as polygons into this file, which pycocotools reads, and imports of CVAT and
            Label Studio ask for.
        device: cpu, cuda, cuda:1, ...
    """
    if labels is None:
        from segue.commands.segment_notes import segment_files

        changed: dict[str, Any] = {"hard": hard, "prompt": prompt is not None, "top_k": top_k is not None}
        _refuse("--labels", card=card is not None, background=background is not None, **changed)
        chosen = model or "reclmis-chest"
        segment_files(image, note, notes, chosen, out, json, threshold, tta, window, explain, device, coco)
    else:
        from segue.commands.segment_labels import MODEL, label_files

        if note is not None or notes is not None:
            raise InputError("--note and --labels exclude each other; leave one of them out")
        _refuse("notes, not with --labels", threshold=threshold != 0.5, tta=tta, window=window != 0, explain=explain)
        changes: dict[str, Any] = {"hard": hard, "prompt": prompt, "top_k": top_k}
        label_files(image, labels, model or MODEL, out, json, card, background, device, coco, **changes)


def _refuse(goes_with: str, **given: bool) -> None:
    """Refuse options that belong to the other way of using a command."""
    if wrong := [name for name, there in given.items() if there]:
        raise InputError(f"--{wrong[0].replace('_', '-')} goes with {goes_with}; leave one of them out")


def draw(
    caption: Positional[str],
    /,
    model: str = "crossmodal-scenes",
    out: Annotated[Path, arg(aliases=["-o"])] = Path("layouts"),
    num: int = 4,
    image: Path | None = None,
    keep: Path | None = None,
    seed: int = 0,
    steps: int = 8,
    guidance: float = 1.0,
    temperature: float = 1.0,
    tries: int = 4,
    export: tuple[str, ...] = (),
    json: bool = False,
    device: str = "cpu",
) -> None:
    """Draw semantic layouts of a sentence.

    Args:
        caption: the sentence.
        model: a bundled name or a checkpoint folder.
        out: folder for layout-N.png (class positions, with a palette) and layout-N-colours.png.
        num: how many layouts.
        image: a picture whose layout it is to be: caption+image instead of caption alone.
        keep: a layout of which all but 255 is kept, and the rest drawn to fit.
        seed: of the first layout; the others follow.
        steps: of parallel decoding.
        guidance: how strongly the caption counts, 1 for plain.
        temperature: of the draw; 0 takes the likeliest.
        tries: how often each layout is drawn; the one stays from which the model itself best tells the sentence.
        export: also write panoptic (COCO), masks (a PNG for each class), heat (where each noun of the caption counts).
        json: print one JSON object.
        device: cpu, cuda, ...
    """
    from segue.commands.draw import draw_files

    drawn = draw_files(
        caption, model, out, num=num, image=image, keep=keep, seed=seed, steps=steps, guidance=guidance,
        temperature=temperature, tries=tries, export=export, device=device,
    )  # fmt: skip
    shown = (f"{one['file']}: " + ", ".join(f"{k} {v:.0%}" for k, v in one["areas"].items()) for one in drawn)
    print(_json({"layouts": drawn}) if json else "\n".join(shown))


def tell(
    mask: Positional[Path],
    /,
    model: str = "crossmodal-scenes",
    palette: str = "segue",
    image: Path | None = None,
    num: int = 1,
    top_p: float = 0.0,
    seed: int = 0,
    json: bool = False,
    device: str = "cpu",
) -> None:
    """Tell a semantic layout in words.

    Args:
        mask: an 8-bit PNG of class positions, or a colour picture in the colours of `palette`.
        model: a bundled name or a checkpoint folder.
        palette: segue for the colours of `segue draw`, or a JSON file [[r, g, b], ...] in the order of the classes.
        image: the picture of which it is the layout: mask+image instead of the mask alone.
        num: how many captions.
        top_p: > 0 samples from the likeliest words of that probability instead of searching.
        seed: of sampling.
        json: print one JSON object.
        device: cpu, cuda, ...
    """
    from segue.commands.draw import tell_file

    told = tell_file(mask, model, palette=palette, image=image, num=num, top_p=top_p, seed=seed, device=device)
    print(_json({"captions": told}) if json else "\n".join(one["caption"] for one in told))


def caption(
    image: Positional[Path],
    /,
    num: int = 1,
    model: str = "syntic-scenes",
    pair: str | None = None,
    support: Path | None = None,
    objects: tuple[str, ...] | None = None,
    detector: str | None = None,
    retrieve: bool = False,
    beams: int = 3,
    top_p: float = 0.0,
    length_penalty: float = 1.0,
    no_repeat: int = 0,
    seed: int = 0,
    json: bool = False,
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    device: str = "cpu",
) -> None:
    """Tell in words what a picture shows.

    Args:
        image: a picture, or a folder of pictures.
        num: how many captions of each picture, the best first.
        model: a bundled name or a checkpoint folder.
        pair: where the model's image-text pair is, if it has moved: a name, a folder or clip:ID-OR-FOLDER.
        support: a file of captions to use instead of the model's own support set.
        objects: names of what is to be seen, instead of looking for it.
        detector: what looks for them, if that of training has moved: a YOLOX (an .onnx file), or a DETR (a folder, or
            facebook/detr-resnet-50@no_timm).
        retrieve: take the nearest captions of the support set and write none.
        beams: hypotheses kept while searching.
        top_p: sample from the likeliest tokens that together have that probability; 0 searches instead.
        length_penalty: captions are compared by log-probability / length ** this; more for longer ones.
        no_repeat: no run of so many tokens is said twice; 0 for any.
        seed: of sampling.
        json: print one JSON object for each picture.
        out: also write each picture's best caption there, as COCO's results json.
        device: cpu, cuda, cuda:1, ...
    """
    from segue.commands.caption import caption_files
    from segue.options import Decoding

    options = Decoding(
        max_tokens=1000, beams=beams, top_p=top_p, length_penalty=length_penalty, no_repeat=no_repeat, seed=seed
    )
    caption_files(image, num, model, pair, support, objects, detector, retrieve, options, json, out, device)


def explain(
    image: Positional[Path],
    /,
    box: str | None = None,
    point: str | None = None,
    mask: Path | None = None,
    scribble: str | None = None,
    every: bool = False,
    graph: Path | None = None,
    detector: str | None = None,
    relations: Path | None = None,
    label: str | None = None,
    model: str = "sgdiff-scenes",
    top: int = 5,
    steps: int = 12,
    sampler: Literal["renoise", "ddim", "ddpm"] = "renoise",
    temperature: float = 0.0,
    tries: int = 4,
    length: int | None = None,
    include: tuple[str, ...] = (),
    seed: int = 0,
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    export: tuple[Literal["coco", "coco-rle", "grandf", "panoptic"], ...] = (),
    json: bool = False,
    device: str = "cpu",
) -> None:
    """Tell stories around a place on a picture: captions whose phrases are tied to masks, with scores.

    Args:
        image: a picture. Point at something in it with one of --box, --point, --mask, --scribble, --every. A folder of
            pictures takes --every.
        box: x,y,w,h in pixels; x and y of the top left corner.
        point: x,y: the smallest object there.
        mask: a PNG of the picture's size, white on what is meant.
        scribble: points as "x,y x,y x,y".
        every: each object of the picture by itself.
        graph: the picture's objects and relations: json in Visual Genome's format, or COCO's instances.
        detector: what finds the objects when there is no graph: a YOLOX (an .onnx file), or a DETR (a folder, or
            facebook/detr-resnet-50@no_timm).
        relations: a folder of `segue train relations`: what relates objects that come without relations; without it
            they are related by where they lie.
        label: the name of what --box, --mask or --scribble is around, where nothing else is known of the picture.
        model: a bundled name or a checkpoint folder.
        top: how many stories.
        steps: evaluations of the network.
        sampler: renoise noises its guess anew at each step; ddim keeps the noise of the start, ddpm some of it.
        temperature: of the words that are drawn; 0 takes the likeliest, 1 makes stories differ more.
        tries: how often each story is told, of which the likeliest stays; no matter to models that write word by word.
        length: exactly so many words.
        include: words that every caption tells.
        seed: of all that is drawn by lot.
        out: folder for the overlays and the pages (default PICTURE.stories/PROMPT, or
            PICTURE.stories for every object).
        export: further files. coco is one for all pictures and objects, with polygons; coco-rle the same with run
            lengths, which keep every pixel in less space.
        json: print one JSON object for each picture.
        device: cpu, cuda, cuda:1, ...
    """
    from segue.commands.describe import Asked, explain_file

    asked = Asked(box, point, mask, scribble, every)
    options: dict[str, Any] = {"top": top, "steps": steps, "sampler": sampler, "temperature": temperature}
    options |= {"tries": tries, "length": length, "include": include, "seed": seed}
    if every and label is not None:
        raise InputError("--label: names what one place is around; with --every give --graph or --detector")
    if label is not None:
        options["label"] = label
    explain_file(image, asked, graph, detector, relations, model, options, out, export, json, device)


def evaluate(
    model: Positional[str],
    /,
    data: Path,
    split: Literal["train", "val", "test"] = "test",
    json: bool = False,
    protocol: str | None = None,
    vocabulary: Path | None = None,
    empty: Literal["zero", "one", "skip"] | None = None,
    tta: bool = False,
    window: int = 0,
    hard: bool = False,
    prompt: str | None = None,
    top_k: int | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    device: str = "cpu",
) -> None:
    """Score a model on each picture's own grid: one that reads notes on noted pictures, a GroupViT on label maps.

    Args:
        model: a bundled name or a checkpoint folder.
        data: noted pictures in the LViT layout; for a GroupViT any format with label maps or masks.
        split: which split to score.
        json: print one JSON object.
        protocol: GroupViT: voc, context, coco-object, ade150, cityscapes, scenes, ...; the model's own unless given.
        vocabulary: GroupViT: the concepts trained with, one a line, to tell how many classes are among them.
        empty: notes: what an empty mask predicted empty scores in dice and iou (one unless given); the official miou
            always counts it 0.
        tta: notes: average with the mirrored picture.
        window: notes: slide a window of that many pixels.
        hard: GroupViT: a pixel belongs to one group alone instead of softly to all; the card's way unless given.
        prompt: GroupViT: the text with {} for the name; the card's unless given.
        top_k: GroupViT: how many of the names a picture may have, 0 for all; the card's unless given.
        on_bad: stop at unreadable examples, or skip them and say so.
        device: cpu, cuda, ...
    """
    from segue.commands.evaluate import evaluate_files

    options: dict[str, Any] = {"protocol": protocol, "vocabulary": vocabulary, "empty": empty, "tta": tta}
    options |= {"hard": hard, "prompt": prompt, "top_k": top_k}
    told = evaluate_files(model, data, split, window=window, on_bad=on_bad, device=device, **options)
    print(_json(told) if json else _text(told))


def embed(
    source: Positional[Path],
    /,
    out: Annotated[Path, arg(aliases=["-o"])],
    pair: str = "pair-scenes",
    on_bad: Literal["stop", "skip"] = "stop",
    batch_size: int = 0,
    shard_rows: int = 4096,
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Write the embeddings of pictures or texts to a store; the same command goes on where it was stopped.

    Args:
        source: a folder of pictures, or a .txt or .txt.gz with one text a line.
        out: the store, a folder: float16 shards (.npy) and manifest.json.
        pair: a bundled name, a checkpoint folder, or clip:ID-OR-FOLDER (CLIP or SigLIP).
        on_bad: what to do with what can't be read: stop before computing, or skip it and name it in the manifest.
        batch_size: how many at once; 0 for 32 pictures or 256 texts.
        shard_rows: rows of a shard; a kill loses one at most.
        device: cpu, cuda, ...
        json: print one JSON object.
    """
    from segue.commands.embed import embed_files

    _show(
        embed_files(source, out, pair, on_bad=on_bad, batch_size=batch_size, shard_rows=shard_rows, device=device), json
    )


def curate(
    pairs: Positional[Path],
    /,
    out: Annotated[Path, arg(aliases=["-o"])],
    pair: str = "pair-scenes",
    vocabulary: Path | None = None,
    split: Literal["train", "val", "test"] = "train",
    captions: int = 0,
    neighbours: int = 8,
    show: int = 0,
    seed: int = 0,
    on_bad: Literal["stop", "skip"] = "stop",
    device: str = "cpu",
    ray: bool = False,
    json: bool = False,
) -> None:
    """Find the concepts that pictures show and their captions leave out; the same command goes on where it stopped.

    Args:
        pairs: a folder of captioned pictures in any known format.
        out: a folder; the archive is archive/archive.parquet in it.
        pair: a bundled name, a checkpoint folder, or clip:ID-OR-FOLDER (CLIP or SigLIP).
        vocabulary: a text file with one concept a line; the nouns of the captions unless given.
        split: which split of the data set.
        captions: how many captions of each picture are used, the first ones; 0 for all.
        neighbours: how many of the nearest pictures lend a picture their concepts.
        show: write page/index.html with that many pictures and their archives.
        seed: of the clusters.
        on_bad: what to do with what can't be read: stop before computing, or skip it and say so.
        device: cpu, cuda, ...
        ray: search, rank and cluster on all cores by Ray Data, or on the cluster that RAY_ADDRESS names.
        json: print one JSON object.
    """
    from segue.commands.curate import curate_files
    from segue.methods.cocu.curation.arrays import CurateSettings

    settings = CurateSettings(neighbours=neighbours, seed=seed)
    options: dict[str, Any] = {"split": split, "captions": captions, "vocabulary": vocabulary, "show": show}
    told = curate_files(pairs, out, pair, settings, on_bad=on_bad, device=device, ray=ray, **options)
    print(_json(told) if json else _text(told))


def data_make(
    what: Positional[Literal["chest", "scenes"]],
    /,
    out: Path,
    seed: int = 0,
    train: int | None = None,
    val: int | None = None,
    test: int | None = None,
    size: int | None = None,
    style: Literal["a", "b", "photo", "synthetic"] | None = None,
    world: Literal["a", "b"] | None = None,
    view: Literal["wide", "close"] | None = None,
) -> None:
    """Draw an embedded data set, byte for byte the same for the same numbers.

    Args:
        what: chest: chest phantoms with notes, in the LViT layout. scenes: pictures with captions, masks and relations,
            in COCO's layout.
        out: a folder that is not there yet.
        seed: of everything drawn.
        train: pictures in the training split (chest 1500, scenes 8000).
        val: pictures in the validation split (chest 200, scenes 500).
        test: pictures in the test split (chest 300, scenes 1000).
        size: side in pixels (chest 224, scenes 128).
        style: chest: which scanner's look, a (default) or b. scenes: photo (default) or synthetic.
        world: scenes only: which mix of things, colours and words (default a).
        view: scenes only: wide (default), or close: a square around one thing, which fills about half of it.
    """
    given = {"train": train, "val": val, "test": test, "size": size, "style": style, "world": world, "view": view}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if what == "chest":
        from segue.synthetic.chest import make_chest

        for name in {"world", "view"} & asked.keys():
            raise InputError(f"--{name} {asked[name]}: chest phantoms have no {name}s; leave it out, or make scenes")
        make_chest(out, seed=seed, **asked)
    else:
        from segue.synthetic.scenes.writer import make_scenes

        make_scenes(out, seed=seed, progress=True, **asked)
    usual = {"chest": (1500, 200, 300, 224), "scenes": (8000, 500, 1000, 128)}[what]
    train, val, test, size = (u if v is None else v for v, u in zip((train, val, test, size), usual, strict=True))
    print(f"{out}: {train} train, {val} val, {test} test pictures of {size}x{size}")


def data_outline(folder: Positional[Path], /, sam: str = "facebook/sam-vit-base", device: str = "cpu") -> None:
    """Turn the boxes of Flickr30k Entities into masks by a SAM; a run that was stopped goes on.

    Args:
        folder: Flickr30k Entities; the masks go into its folder Masks, a file a picture.
        sam: a SAM of transformers by its id on the hub or from a folder.
        device: cpu, cuda, cuda:1, ...
    """
    from segue.commands.data_outline import outline_folder
    from segue.nn.devices import check_device

    print(f"{folder}: {outline_folder(folder, sam, check_device(device))} pictures outlined")


def data_check(folder: Positional[Path], /, json: bool = False) -> None:
    """Look for everything that is wrong with a data set; exit status 1 when there are errors.

    Args:
        folder: a data set in any known format (COCO, Karpathy, LViT, ...; a wrong folder lists them), or a file of
            captions (.txt, .tsv, .jsonl, .gz).
        json: print one JSON object.
    """
    from segue.data.formats.check import check_any

    report = check_any(folder)
    print(_json(report.to_json()) if json else report)
    if not report.ok:
        sys.exit(1)


def data_show(
    folder: Positional[Path],
    /,
    out: Annotated[Path, arg(aliases=["-o"])] = Path("contact-sheet.png"),
    split: Literal["train", "val", "test"] = "train",
    limit: int = 24,
) -> None:
    """Draw a contact sheet: pictures with their masks outlined and their notes or captions below.

    Args:
        folder: a data set in any known format.
        out: the PNG to write.
        split: which split to show.
        limit: how many pictures at most.
    """
    from segue.data.formats import read_pictures
    from segue.data.images import write_image
    from segue.data.medical import lvit
    from segue.data.visualize import contact_sheet

    records = lvit.read_lvit(folder, split) if lvit.splits(folder) else read_pictures(folder, split, "skip").pictures
    write_image(contact_sheet(records, limit=limit), out)
    print(out)


def bench(what: Positional[str], /) -> None:
    """Measure cost and speed: `segue bench WHAT --help` lists a benchmark's settings; --json prints one object."""
    raise InputError(f"benchmark {what!r}: give it first, as in `segue bench reclmis --json`")


def _bench(argv: list[str]) -> None:
    from pkgutil import resolve_name

    from segue.lab.registry import BENCHES

    as_json = "--json" in argv
    rest = [word for word in argv if word != "--json"]
    result = tyro.extras.subcommand_cli_from_dict(
        {name: resolve_name(where) for name, where in BENCHES.items()},
        prog="segue bench",
        description="Measure cost and speed. --json prints one object.",
        args=rest,
    )
    print(_json(result) if as_json else _text(result))


def _text(result: Any, indent: str = "") -> str:
    """A nested result as indented lines for people."""
    if not isinstance(result, dict):
        return f"{result:,.4g}" if isinstance(result, float) else f"{result:,}" if type(result) is int else str(result)
    lines = []
    for key, value in result.items():
        shown = _text(value, indent + "  ")
        lines.append(f"{indent}{key}:\n{shown}" if isinstance(value, dict) else f"{indent}{key:26} {shown}")
    return "\n".join(lines)


def demo(out: Path = Path("demo"), model: str = "reclmis-chest", pictures: int = 8) -> None:
    """Do the jobs of the bundled models on freshly drawn pictures, and write a page that shows it all.

    Args:
        out: folder for index.html and its pictures.
        model: a bundled name or a checkpoint folder.
        pictures: how many phantoms.
    """
    from segue.commands.demo.page import write_demo

    print(write_demo(out, model, pictures))


def train(recipe: Positional[str], /) -> None:
    """Train a model: `segue train RECIPE --help` lists a recipe's settings."""
    raise InputError(f"recipe {recipe!r}: give it first, as in `segue train reclmis-chest`")


def data(job: Positional[Literal["make", "check", "show", "outline"]], /) -> None:
    """Make, check, show and outline data sets: `segue data make --help` and so on."""
    raise InputError(f"job {job!r}: give it first, as in `segue data check FOLDER`")


def score(what: Positional[Literal["captions", "masks", "panoptic"]], /) -> None:
    """Score files of captions, masks or panoptic maps: `segue score captions --help` and so on."""
    raise InputError(f"score {what!r}: give it first, as in `segue score captions --refs R --preds P`")


def score_captions(refs: Path, preds: Path, split: str | None = None, java: bool = True, json: bool = False) -> None:
    """BLEU-1..4, ROUGE-L, CIDEr-D, METEOR, SPICE and distinct-n of one caption per image.

    Args:
        refs: COCO's captions json, a Karpathy json, or jsonl of {"image_id", "captions"}.
        preds: COCO's results json [{"image_id", "caption"}], or the same as jsonl.
        split: which split of a Karpathy json; all of it unless given.
        java: METEOR and SPICE too, as far as they can run.
        json: print one JSON object.
    """
    from segue.commands.score import caption_files

    _show(caption_files(refs, preds, split, java), json)


def score_masks(
    refs: Path,
    preds: Path,
    classes: int | None = None,
    empty: Literal["zero", "one", "skip"] = "one",
    json: bool = False,
) -> None:
    """Dice and IoU of masks, or mIoU and pixel accuracy of class maps; PNG files paired by name.

    Args:
        refs: folder of the true PNG files.
        preds: folder of the predicted ones, named alike.
        classes: the files hold class numbers 0..classes - 1 (255 ignored in the truth); masks unless given.
        empty: what an empty mask predicted empty, or a class that never occurs, scores.
        json: print one JSON object.
    """
    from segue.commands.score import mask_files

    _show(mask_files(refs, preds, classes, empty), json)


def score_panoptic(refs: Path, ref_dir: Path, preds: Path, pred_dir: Path, json: bool = False) -> None:
    """Panoptic quality (PQ, SQ, RQ) of all classes, things and stuff, and of each class.

    Args:
        refs: COCO's panoptic json of the truth, with categories.
        ref_dir: folder of its PNG files.
        preds: the same of the predictions.
        pred_dir: folder of their PNG files.
        json: print one JSON object.
    """
    from segue.commands.score import panoptic_files

    result = panoptic_files(refs, ref_dir, preds, pred_dir)
    print(_json(result) if json else _text(result))


def _train(argv: list[str]) -> None:
    from segue.recipes import RECIPES, load_recipe

    if not argv or argv[0].startswith("-"):
        print(f"segue train RECIPE [settings]; the recipes: {', '.join(RECIPES)}. Settings: segue train RECIPE --help")
        sys.exit(0 if argv in ([], ["-h"], ["--help"]) else 2)
    if argv[0] not in RECIPES:
        raise InputError(f"recipe {argv[0]!r}: expected one of {', '.join(RECIPES)}")
    recipe, default = load_recipe(argv[0])
    about = (recipe.__doc__ or "").strip()
    settings = tyro.cli(type(default), default=default, args=argv[1:], prog=f"segue train {argv[0]}", description=about)
    print(f"saved to {recipe(settings)}")


def export(
    model: Positional[str],
    /,
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    onnx: Path | None = None,
) -> None:
    """Write a segmenter as small as it can be used (float16, without what only training needs), or a model as ONNX.

    Args:
        model: a bundled name or a checkpoint folder: a segmenter; with --onnx also a captioner or a GroupViT.
        out: a folder that is not there yet, for the checkpoint in float16.
        onnx: a folder that is not there yet, for ONNX graphs; they are compared with torch by onnxruntime.
    """
    folder = onnx or out
    if folder is None or (onnx and out):
        raise InputError("export: expected one of -o FOLDER (a float16 checkpoint) and --onnx FOLDER")
    if onnx:
        from segue.api.to_onnx import export_onnx, load_model

        for name, difference in export_onnx(load_model(model), onnx).items():
            print(f"{name}.onnx: differs from torch by {difference:.1e} at most")
    else:
        from segue import api

        api.export(model, folder)
    print(f"{folder}: {sum(p.stat().st_size for p in folder.iterdir()) / 1e6:.1f} MB")


def serve(
    models: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    detector: str | None = None,
    relations: Path | None = None,
    max_mb: int = 24,
    max_megapixels: int = 16,
    waiting: int = 32,
    seconds: float = 60.0,
    gather: float = 0.005,
    device: str = "cpu",
) -> None:
    """Serve models over HTTP, with a page to play with at / and OpenAPI at /docs.

    Args:
        models: bundled names or checkpoint folders; all bundled ones unless given.
        host: address to listen on; others than this machine can only be served with a token.
        port: to listen on.
        token: what requests must bring as `Authorization: Bearer TOKEN`, 8 characters or more.
        detector: a DETR by its id on the hub or from a folder, or a YOLOX's .onnx file, for explaining pictures without
            regions, and for captioners that were trained with one, if it has moved.
        relations: a folder of `segue train relations`, for explaining objects that come without relations.
        max_mb: of a request.
        max_megapixels: of a picture.
        waiting: requests that may wait for one model; one more is answered 429.
        seconds: from a request to its answer; then 504.
        gather: seconds for which a request waits for others to share a batch, where others came before; 0: no batches.
        device: cpu, cuda, cuda:1, ...
    """
    try:
        from segue.serving import Limits
        from segue.serving import serve as serve_models
        from segue.serving.uploads import Bounds
    except ImportError as error:
        raise InputError(f"serving needs FastAPI and more ({error}): {to_install('serve')}") from error

    if not 0 <= port < 65_536:
        raise InputError(f"--port: got {port}, expected 0 to 65535")
    asked = {"max-mb": max_mb, "max-megapixels": max_megapixels, "waiting": waiting, "seconds": seconds}
    if wrong := [name for name, value in asked.items() if not value > 0]:
        raise InputError(f"--{wrong[0]}: got {asked[wrong[0]]}, expected more than 0")
    if not gather >= 0:
        raise InputError(f"--gather: got {gather}, expected 0 or more")
    limits = Limits(max_mb * 1_000_000, Bounds(max_megapixels * 1_000_000), waiting, seconds, gather)
    how: dict[str, Any] = {"limits": limits, "device": device, "detector": detector, "relations": relations}
    serve_models(models, host=host, port=port, token=token, **how)


def ablate(
    table: Positional[str],
    /,
    max_minutes: float | None = None,
    jobs: int = 1,
    row: str | None = None,
    results: Path = Path("results"),
    work: Path = Path("runs/ablate"),
    data: Path | None = None,
) -> None:
    """Run the rows of a results table that are missing, and append each as it finishes; resumes where it stopped.

    Args:
        table: the table's name, which is its file's name in the results folder; `list` prints all.
        max_minutes: start no further row after this long.
        jobs: how many rows at a time; the threads are divided among them.
        row: only this one, EXPERIMENT/SYSTEM/SEED; prints its metrics as JSON and appends nothing.
        results: folder of the long-form CSV files.
        work: folder for the runs; a row that was stopped resumes there.
        data: folder with the real data, for the tables that need it.
    """
    from segue.lab.registry import TABLES
    from segue.lab.run import run_ablation

    if table == "list":
        print("\n".join(TABLES))
        return
    run_ablation(table, max_minutes=max_minutes, jobs=jobs, row=row, results=results, work=work, data=data)


def report(
    results: Path = Path("results"),
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    plots: Path | None = None,
    readme: Path | None = None,
    claims: Path | None = None,
) -> None:
    """Render the tables of the results folder: mean, spread and number of seeds.

    Args:
        results: folder of the long-form CSV files.
        out: write the markdown there instead of printing it.
        plots: also draw the curves into this folder.
        readme: fill this file's blocks `<!-- results:FILE:EXPERIMENT -->` with their tables instead.
        claims: write the page of the papers' claims and what the results say to them there instead.
    """
    from segue.lab import report as reports

    if claims is not None:
        from segue.lab.claims.page import claims_page

        write_text(claims, claims_page(results))
        return
    if readme is not None:
        write_text(readme, reports.fill(readme.read_text(encoding="utf-8"), results, readme))
        return
    text = reports.report(results)
    if out is None:
        print(text)
    else:
        write_text(out, text)
    if plots is not None:
        for path in reports.plots(results, plots):
            print(path)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)


def _show(result: dict[str, Any], as_json: bool) -> None:
    lines = (f"{k:14} {v:.4f}" if isinstance(v, float) else f"{k:14} {v}" for k, v in result.items())
    print(_json(result) if as_json else "\n".join(lines))


HELP = "The road between words and masks, both ways."
COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "segment": segment,
    "draw": draw,
    "tell": tell,
    "caption": caption,
    "explain": explain,
    "train": train,
    "eval": evaluate,
    "embed": embed,
    "curate": curate,
    "export": export,
    "data": data,
    "score": score,
    "serve": serve,
    "bench": bench,
    "ablate": ablate,
    "report": report,
}
