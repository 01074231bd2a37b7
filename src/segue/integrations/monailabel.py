"""MONAI Label: an app over a model of notes, whose masks 3D Slicer and OHIF show for people to mend.

In the app's folder, its `main.py`:

    from segue.integrations.monailabel import make_app

    SegueApp = make_app("reclmis-cxr")

and then `monailabel start_server --app FOLDER --studies SCANS --conf note "Two infected areas, both lungs."`. 3D Slicer
has the note among the model's options, where it is changed from scan to scan.
Its interface is that of monailabel 0.8: `MONAILabelApp` and `InferTask`.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segue.api.segmenter import Segmenter, load_segmenter
from segue.data.medical.volumes import read_volume, write_like
from segue.data.picture_files import is_volume
from segue.options import SegmentOptions
from segue.types import NotInstalled

MODEL = "segue"  # what the app calls its one model


def make_app(model: str, *, note: str | None = None, label: str = "described", device: str = "auto") -> Any:
    """A class of `MONAILabelApp` with one model, which reads the request's note, or else `note`.

    model: of notes. label: the name of what is outlined; it has the value 1. note: unless the server is started with
    `--conf note "..."`, or a request brings its own.
    Raises NotInstalled where the package monailabel is missing, and InputError for a model that can't be had.
    """
    segmenter, base = load_segmenter(model, device=device), _monailabel("app").MONAILabelApp
    tasks = _monailabel("tasks.infer_v2")

    class NoteTask(tasks.InferTask):  # type: ignore[misc, name-defined]
        """Outlines in a scan what a note describes."""

        def __init__(self, usual: str | None) -> None:
            what = f"Outlines what a note describes, by {model} of Segue. Not for diagnosis."
            super().__init__(tasks.InferType.SEGMENTATION, {label: 1}, 3, what, {"note": usual or "", "threshold": ""})

        def is_valid(self) -> bool:
            """Always: the model was loaded."""
            return True

        def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
            """A file with the mask, and what is told of it. Raises InputError for a scan that can't be read."""
            told = {**self.config(), **request}
            options = SegmentOptions(threshold=float(told["threshold"]) if told["threshold"] else None)
            file, found = segment_file(segmenter, Path(request["image"]), told["note"] or None, options)
            return str(file), {"label_names": {label: 1}, **found}

    class SegueApp(base):  # type: ignore[misc, valid-type]
        """One model, and no training."""

        def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
            self.usual = conf.get("note", note)
            super().__init__(app_dir, studies, conf, name="Segue", description="Masks by notes", labels=[label])

        def init_infers(self) -> dict[str, Any]:
            """The model under its name."""
            return {MODEL: NoteTask(self.usual)}

    return SegueApp


def segment_file(
    model: Segmenter, scan: Path, note: str | None, options: SegmentOptions
) -> tuple[Path, dict[str, Any]]:
    """A new temporary file with the mask of a scan, 1 where the note describes it, and numbers of it.

    scan: a NIfTI or DICOM file, or a folder with one DICOM series: the mask is NIfTI on the scan's own grid. Any other
    picture: the mask is a PNG. The numbers: the note, doubts about it, and the pixels or voxels of the mask.
    Raises InputError for a scan that can't be read, and a note that the model refuses.
    """
    volume = read_volume(scan) if scan.is_dir() or is_volume(scan) else None
    with tempfile.NamedTemporaryFile(suffix=".png" if volume is None else ".nii.gz", delete=False) as made:
        file = Path(made.name)
    try:
        if volume is None:
            masks = model.segment(scan, note, options=options).mask
            Image.fromarray(masks.astype(np.uint8)).save(file)
        else:
            answers = model.segment_many(volume.slices, [note] * len(volume.slices), options=options)
            masks = np.stack([answer.mask for answer in answers])
            write_like(volume, masks, file)
    except Exception:
        file.unlink()
        raise
    return file, {"note": note, "note_doubts": model.note_doubts(note), "area": int(masks.sum())}


def _monailabel(module: str) -> Any:
    try:
        return import_module(f"monailabel.interfaces.{module}")
    except ImportError as error:
        raise NotInstalled("monailabel: the package is missing: pip install monailabel") from error
