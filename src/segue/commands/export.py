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
    int8: Path | None = None,
    json: bool = False,
) -> None:
    """Write a segmenter in float16 without what only training needs, or a model as ONNX.

    Args:
        model: a bundled name or a checkpoint folder: a segmenter; with --onnx also a captioner or a GroupViT.
        out: a folder that is not there yet, for the checkpoint in float16.
        onnx: a folder that is not there yet, for ONNX graphs; they are compared with torch by onnxruntime.
        int8: with --onnx, the graph of a segmenter by notes in whole numbers of 8 bits: a data set with notes, whose
            train split calibrates and whose val split tells what that costs.
        json: print one JSON object.
    """
    folder = onnx or out
    if folder is None or (onnx and out):
        raise InputError("export: expected one of -o FOLDER (a float16 checkpoint) and --onnx FOLDER")
    if int8 and not onnx:
        raise InputError("--int8: goes with --onnx FOLDER; add it")
    graphs: dict[str, float] = {}
    loss: dict[str, float] = {}
    if onnx and int8:
        from segue.api.to_int8 import export_int8
        from segue.api.to_onnx import load_model

        loss = export_int8(load_model(model), onnx, int8)._asdict()
    elif onnx:
        from segue.api.to_onnx import export_onnx, load_model

        graphs = export_onnx(load_model(model), onnx)
    else:
        from segue.api.segmenter import export as export_segmenter

        export_segmenter(model, folder)
    megabytes = round(sum(p.stat().st_size for p in folder.iterdir()) / 1e6, 1)
    if json:
        differs = {"int8": loss} if loss else {"differs_from_torch_by": graphs}
        print(dumps({"saved_to": str(folder), "megabytes": megabytes, **differs}))
        return
    if loss:
        pictures, dice, before = loss["measured_on"], 100 * loss["dice"], 100 * loss["dice_float32"]
        print(f"segmenter.onnx: int8 by {loss['calibrated_on']} pictures of train")
        print(f"Dice of {pictures} of val: {dice:.1f}, in float32 {before:.1f}")
    for name, difference in graphs.items():
        print(f"{name}.onnx: differs from torch by {difference:.1e} at most")
    print(f"{folder}: {megabytes:.1f} MB")
