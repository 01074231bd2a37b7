"""`segue export`: a model as small as it can be used, or as ONNX graphs."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from segue.types import InputError


def export(
    model: Positional[str],
    /,
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    onnx: Path | None = None,
    json: bool = False,
) -> None:
    """Write a segmenter in float16 without what only training needs, or a model as ONNX.

    Args:
        model: a bundled name or a checkpoint folder: a segmenter; with --onnx also a captioner or a GroupViT.
        out: a folder that is not there yet, for the checkpoint in float16.
        onnx: a folder that is not there yet, for ONNX graphs; they are compared with torch by onnxruntime.
        json: print one JSON object.
    """
    folder = onnx or out
    if folder is None or (onnx and out):
        raise InputError("export: expected one of -o FOLDER (a float16 checkpoint) and --onnx FOLDER")
    graphs: dict[str, float] = {}
    if onnx:
        from segue.api.to_onnx import export_onnx, load_model

        graphs = export_onnx(load_model(model), onnx)
    else:
        from segue.api.segmenter import export as export_segmenter

        export_segmenter(model, folder)
    megabytes = round(sum(p.stat().st_size for p in folder.iterdir()) / 1e6, 1)
    if json:
        print(dumps({"saved_to": str(folder), "megabytes": megabytes, "differs_from_torch_by": graphs}))
        return
    for name, difference in graphs.items():
        print(f"{name}.onnx: differs from torch by {difference:.1e} at most")
    print(f"{folder}: {megabytes:.1f} MB")
