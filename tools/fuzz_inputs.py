"""What `tools/fuzz.py` breaks: for each reader a small true input, and the call that reads it."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from segue.api import load
from segue.data import rle
from segue.data.corpus import read_corpus
from segue.data.formats import find_problem, read_pictures
from segue.data.formats.scene_graph import read_graph
from segue.data.images import read_image, read_mask
from segue.data.medical.lvit import read_lvit
from segue.data.medical.note_tables import read_notes
from segue.data.medical.volumes import read_volume
from segue.evaluation.files import read_predictions, read_references
from segue.methods.cocu.archive import archive_table, read_archive, write_table
from segue.weights import bundled


class Input(NamedTuple):
    """write: makes the true input in an empty folder. read: reads it; what it answers doesn't matter.

    broken: the files of which one is broken at a time, as a pattern below the folder.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], object]
    broken: str


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _picture(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def _train(folder: Path) -> None:
    """Every picture and annotation of a data set, as trainings read them."""
    for picture in read_pictures(folder, "train").pictures:
        find_problem(picture)
        for region in picture.regions:
            if region.mask is not None:
                rle.decode(region.mask)


# ------------------------------------------------------------------------------------------- pictures with annotations


def _coco(folder: Path) -> None:
    _picture(folder / "train2017/000000000001.jpg")
    picture = {"id": 1, "file_name": "000000000001.jpg", "width": 12, "height": 8}
    runs = {"size": [8, 12], "counts": [40, 8, 48]}
    base: dict[str, Any] = {"image_id": 1, "category_id": 1, "area": 8, "iscrowd": 0, "bbox": [1, 1, 4, 4]}
    marks = [
        base | {"id": 1, "segmentation": [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0]]},
        base | {"id": 2, "iscrowd": 1, "segmentation": runs},
    ]
    categories = [{"id": 1, "name": "dog", "supercategory": "animal"}]
    notes = folder / "annotations"
    _json(notes / "instances_train2017.json", {"images": [picture], "annotations": marks, "categories": categories})
    captions = [{"id": 1, "image_id": 1, "caption": "a dog on the grass"}]
    _json(notes / "captions_train2017.json", {"images": [picture], "annotations": captions})


def _panoptic(folder: Path) -> None:
    _coco(folder)
    Image.fromarray(np.full((8, 12, 3), (7, 0, 0), np.uint8)).save(folder / "map.png")
    place = folder / "annotations/panoptic_train2017/000000000001.png"
    place.parent.mkdir(parents=True)
    (folder / "map.png").rename(place)
    segment = {"id": 7, "category_id": 1, "area": 96, "bbox": [0, 0, 12, 8], "iscrowd": 0}
    marks = [{"image_id": 1, "file_name": "000000000001.png", "segments_info": [segment]}]
    categories = [{"id": 1, "name": "dog", "isthing": 1}]
    picture = {"id": 1, "file_name": "000000000001.jpg", "width": 12, "height": 8}
    found = {"images": [picture], "annotations": marks, "categories": categories}
    _json(folder / "annotations/panoptic_train2017.json", found)


def _visual_genome(folder: Path) -> None:
    _picture(folder / "VG_100K/1.jpg")
    picture = {"image_id": 1, "width": 12, "height": 8, "url": "https://x/VG_100K/1.jpg", "coco_id": None}
    parts = [{"object_id": i, "x": i, "y": 1, "w": 3, "h": 3, "names": [n]} for i, n in ((1, "dog"), (2, "tree"))]
    relation = {"relationship_id": 1, "predicate": "near", "subject_id": 1, "object_id": 2}
    relation |= {"subject": parts[0], "object": parts[1]}
    _json(folder / "image_data.json", [picture])
    _json(folder / "objects.json", [{"image_id": 1, "objects": parts}])
    _json(folder / "relationships.json", [{"image_id": 1, "relationships": [relation]}])
    region = {"region_id": 1, "image_id": 1, "phrase": "a dog", "x": 1, "y": 1, "width": 3, "height": 3}
    _json(folder / "region_descriptions.json", [{"id": 1, "regions": [region]}])


def _karpathy(folder: Path) -> None:
    _picture(folder / "images/1.jpg")
    sentence = {"raw": "a dog", "tokens": ["a", "dog"], "imgid": 0, "sentid": 0}
    picture = {"filename": "1.jpg", "imgid": 0, "split": "train", "sentences": [sentence], "sentids": [0]}
    _json(folder / "dataset_flickr8k.json", {"images": [picture], "dataset": "flickr8k"})


def _flickr30k(folder: Path) -> None:
    _picture(folder / "flickr30k_images/1.jpg")
    for name, text in {
        "train.txt": "1\n",
        "Sentences/1.txt": "[/EN#1/animals A dog] runs .\n",
        "Annotations/1.xml": "<annotation><filename>1.jpg</filename><size><width>12</width><height>8</height>"
        "<depth>3</depth></size><object><name>1</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>"
        "</bndbox></object></annotation>",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def _shards(folder: Path) -> None:
    _picture(folder / "one.jpg")
    with tarfile.open(folder / "train-000.tar", "w") as tar:
        for name, data in (
            ("000.jpg", (folder / "one.jpg").read_bytes()),
            ("000.txt", b"a dog"),
            ("001.jpg", (folder / "one.jpg").read_bytes()),
            ("001.json", json.dumps({"captions": ["a cat", "a tree"]}).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    (folder / "one.jpg").unlink()


def _caption_files(folder: Path) -> None:
    _picture(folder / "images/0.jpg")
    (folder / "train.tsv").write_text("a dog on the grass\thttps://x/0.jpg\n")


def _graph(folder: Path) -> None:
    _visual_genome(folder)
    objects, edges = (json.loads((folder / f"{n}.json").read_text())[0] for n in ("objects", "relationships"))
    shutil.rmtree(folder / "VG_100K")
    for path in folder.glob("*.json"):
        path.unlink()
    picture = {"image_id": 1, "width": 12, "height": 8, "file_name": "1.jpg"}
    _json(folder / "graph.json", [picture | objects | edges])


# ------------------------------------------------------------------------------------------- medical


def _lvit(folder: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["Image", "Description"], ["a.png", "One infected area, upper left lung."], ["b.png", "Normal."]):
        book.active.append(row)
    for split in ("Train", "Val", "Test"):
        place = folder / f"{split}_Folder"
        for name in ("a", "b"):
            _picture(place / f"img/{name}.png", "L")
            _picture(place / f"labelcol/{name}.png", "1")
        book.save(place / f"{split}_text.xlsx")


def _read_lvit(folder: Path) -> None:
    for record in read_lvit(folder, "train"):
        record.load()


def _nifti(folder: Path) -> None:
    import nibabel

    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 2, 3, 1])), folder / "a.nii")  # type: ignore[no-untyped-call]
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 2, 3, 1])), folder / "b.nii.gz")  # type: ignore[no-untyped-call]


def _read_niftis(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        read_volume(path)


def _dicom(folder: Path) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["1"])
    found = FileDataset(str(folder / "a.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
    tags: dict[str, Any] = {"Modality": "CT", "Rows": 4, "Columns": 5, "BitsAllocated": 16, "BitsStored": 12}
    tags |= {"HighBit": 11, "PixelRepresentation": 0, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    tags |= {"PixelSpacing": [1, 1], "ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    tags |= {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 1, "RescaleIntercept": -1024}
    tags |= {"SOPClassUID": CTImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID}
    tags |= {"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", "SliceThickness": 1, "InstanceNumber": 1}
    for name, value in tags.items():
        setattr(found, name, value)
    found.PixelData = np.arange(20, dtype=np.uint16).tobytes()
    found.save_as(folder / "a.dcm", enforce_file_format=True)


# ------------------------------------------------------------------------------------------- tables, texts, masks


def _notes(folder: Path) -> None:
    with (folder / "notes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "note"], ["a.png", "One infected area."], ["b.png", ""]])


CAPTIONS = {
    "a.txt": "a dog on the grass\na cat\n",
    "a.tsv": "a dog\thttps://x/1.jpg\n",
    "a.jsonl": '{"caption": "a dog", "image": "1.jpg"}\n',
    "a.json": '{"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "a dog"}]}',
}


def _captions(folder: Path) -> None:
    for name, text in CAPTIONS.items():
        (folder / name).write_text(text)


def _read_captions(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        read_corpus(path)


def _scored(folder: Path) -> None:
    captions = [{"id": i, "image_id": 1, "caption": text} for i, text in enumerate(("a dog", "the dog"))]
    _json(folder / "refs.json", {"images": [{"id": 1}], "annotations": captions})
    _json(folder / "preds.json", [{"image_id": 1, "caption": "a dog"}])


def _read_scored(folder: Path) -> None:
    read_references(folder / "refs.json")
    read_predictions(folder / "preds.json")


def _masks(folder: Path) -> None:
    packed = rle.encode(np.eye(8, 12, dtype=bool))
    runs = [{"size": [8, 12], "counts": [40, 8, 48]}, rle.to_json(packed), [[1, 1, 5, 1, 5, 5]]]
    _json(folder / "masks.json", runs)


def _read_masks(folder: Path) -> None:
    from segue.data.formats.files import read_json

    found = read_json(folder / "masks.json")
    for mask in found if isinstance(found, list) else [found]:
        rle.decode(rle.from_json(mask, (8, 12), "mask"))


def _archive(folder: Path) -> None:
    rows: dict[str, np.ndarray[Any, np.dtype[Any]]] = {
        "row": np.array([0, 0, 1], np.int32),
        "concept": np.array([0, 1, 0], np.int32),
        "score": np.array([0.5, 0.25, 1], np.float32),
        "cluster": np.array([0, 1, 0], np.int8),
        "support": np.array([1, 2, 0], np.uint16),
        "in_caption": np.array([True, False, True]),
    }
    table = archive_table(rows, ["dog", "tree"], ["a", "b"])
    write_table(folder / "a.parquet", [table], {"concepts": ["dog", "tree"], "pictures": 2})


def _pictures(folder: Path) -> None:
    for name, mode in (("a.png", "RGB"), ("b.tif", "L"), ("c.jpg", "RGB"), ("d.bmp", "RGB"), ("e.png", "P")):
        _picture(folder / name, mode)
    Image.fromarray(np.arange(96, dtype=np.uint16).reshape(8, 12)).save(folder / "f.png")
    for ending in ("png", "tif"):
        _picture(folder / f"mask.{ending}", "1")


def _read_pictures(folder: Path) -> None:
    for path in sorted(folder.glob("[a-f].*")):
        read_image(path)
    for path in sorted(folder.glob("mask*")):
        read_mask(path)


# ------------------------------------------------------------------------------------------- checkpoints


def _checkpoint(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        shutil.copytree(bundled()[name], folder, dirs_exist_ok=True)

    return write


INPUTS: dict[str, Input] = {
    "coco": Input(_coco, _train, "**/*.json"),
    "panoptic": Input(_panoptic, _train, "**/panoptic*.*"),
    "visual-genome": Input(_visual_genome, _train, "*.json"),
    "karpathy": Input(_karpathy, _train, "*.json"),
    "flickr30k": Input(_flickr30k, _train, "**/1.*[tl]"),
    "tar shards": Input(_shards, _train, "*.tar"),
    "caption folders": Input(_caption_files, _train, "*.tsv"),
    "caption files": Input(_captions, _read_captions, "a.*"),
    "caption scores": Input(_scored, _read_scored, "*.json"),
    "scene graphs": Input(_graph, lambda folder: read_graph(folder / "graph.json", "1.jpg", (12, 8)), "*.json"),
    "masks": Input(_masks, _read_masks, "*.json"),
    "pictures": Input(_pictures, _read_pictures, "*.*"),
    "notes (csv)": Input(_notes, lambda folder: read_notes(folder / "notes.csv"), "*.csv"),
    "LViT (xlsx)": Input(_lvit, _read_lvit, "Train_Folder/**/*.*"),
    "NIfTI": Input(_nifti, _read_niftis, "*.*"),
    "DICOM": Input(_dicom, lambda folder: read_volume(folder / "a.dcm"), "*.dcm"),
    "archive (parquet)": Input(_archive, lambda folder: read_archive(folder / "a.parquet"), "*.parquet"),
} | {
    f"{name} ({part})": Input(_checkpoint(name), load, pattern)
    for name, part, pattern in (
        ("reclmis-chest", "config", "config.json"),
        ("reclmis-chest", "tokenizer", "tokenizer.json"),
        ("sgdiff-scenes", "config", "config.json"),
        ("sgdiff-scenes", "weights", "model.safetensors"),
        ("cocu-scenes", "configs", "*config.json"),
        ("crossmodal-scenes", "config", "config.json"),
        ("crossmodal-scenes", "tokenizer", "tokenizer.json"),
        ("scenes-encoder", "config", "config.json"),
        ("syntic-scenes", "config", "config.json"),
    )
}
