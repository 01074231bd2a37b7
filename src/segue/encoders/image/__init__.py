"""Image encoders by name, and built again from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segue.configs import from_json
from segue.encoders.image.contract import ImageEncoder
from segue.encoders.pretrained import check_fingerprint
from segue.nn.preprocessing import Preprocessing
from segue.types import InputError
from segue.weights import beside

# Each kind is imported when it is built: CLIP's needs transformers.


def build_image_encoder(name: str, *, size: int | None = None, frozen: bool = True) -> ImageEncoder:
    """An image encoder by name: "small" (always trained), "efficientnet-lite0" or "clip:ID-OR-FOLDER".

    size: S in pixels, the encoder's own unless given. Raises InputError for any other name.
    """
    sized: dict[str, Any] = {} if size is None else {"size": size}
    if name == "small":
        from segue.encoders.image.small import SmallImageEncoder

        return SmallImageEncoder(**sized)
    if name == "efficientnet-lite0":
        from segue.encoders.image.efficientnet import EfficientNetLite

        return EfficientNetLite(frozen=frozen, **sized)
    if name.startswith("clip:"):
        from segue.encoders.image.clip import ClipImageEncoder

        return ClipImageEncoder(name.removeprefix("clip:"), frozen=frozen, **sized)
    raise InputError(f'image encoder {name!r}: expected "small", "efficientnet-lite0" or "clip:ID-OR-FOLDER"')


def load_image_encoder(config: dict[str, Any], folder: Path) -> ImageEncoder:
    """Build the encoder that `ImageEncoder.config()` described, in the config of the checkpoint `folder`.

    A trainable encoder comes with weights to be replaced: load the method's state dict next. A frozen one is read from
    its source, and InputError is raised when its weights are not those of the time of saving.
    """
    options = dict(config)
    kind, sha256, preprocessing = (options.pop(name, None) for name in ("kind", "sha256", "preprocessing"))
    if isinstance(options.get("source"), str):
        options["source"] = beside(folder, options["source"])
    encoder = _build(kind, options, folder)
    check_fingerprint(encoder, str(kind), sha256)
    if preprocessing:
        saved = from_json(Preprocessing, preprocessing, folder)
        if saved.size != encoder.size:
            raise InputError(f"{folder}: config.json: preprocessing of size {saved.size}, expected {encoder.size}")
        encoder.preprocessing = saved
    return encoder


def _build(kind: str | None, options: dict[str, Any], folder: str | Path) -> ImageEncoder:
    if kind == "small":
        from segue.encoders.image.small import SmallImageEncoder

        return from_json(SmallImageEncoder, options, folder)
    if kind == "efficientnet-lite0":
        from segue.encoders.image.efficientnet import EfficientNetLite

        return from_json(EfficientNetLite, {**options, "weights": options.get("frozen", True)}, folder)
    if kind == "clip":
        from segue.encoders.image.clip import ClipImageEncoder

        return from_json(ClipImageEncoder, options, folder)
    raise InputError(f"image encoder: got kind {kind!r:.60}, expected one of 'clip', 'efficientnet-lite0', 'small'")
