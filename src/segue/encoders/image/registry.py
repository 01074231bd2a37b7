"""Image encoders by name, and built again from a checkpoint."""

from __future__ import annotations

from typing import Any

from segue.encoders.image.clip import ClipImage
from segue.encoders.image.contract import ImageEncoder, Preparation
from segue.encoders.image.efficientnet import EfficientNetLite
from segue.encoders.image.small import SmallImage
from segue.types import InputError


def build_image_encoder(name: str, *, size: int | None = None, frozen: bool = True) -> ImageEncoder:
    """An image tower by name: "small" (always trained), "efficientnet-lite0" or "clip:ID-OR-FOLDER"."""
    at: dict[str, Any] = {} if size is None else {"size": size}
    if name == "small":
        return SmallImage(**at)
    if name == EfficientNetLite.kind:
        return EfficientNetLite(frozen=frozen, **at)
    if name.startswith("clip:"):
        return ClipImage(name.removeprefix("clip:"), frozen=frozen, **at)
    raise InputError(f'image tower {name!r}: expected "small", "efficientnet-lite0" or "clip:ID-OR-FOLDER"')


def load_image_encoder(config: dict[str, Any]) -> ImageEncoder:
    """Build the tower that `ImageEncoder.config()` described.

    A tower that is trained comes with weights to be replaced: load the method's state dict next. A frozen one is read
    from its source, and InputError is raised when its weights are not those of the time of saving.
    """
    options = dict(config)
    kind, expected, prepared = (options.pop(name, None) for name in ("kind", "sha256", "preparation"))
    if kind == "small":
        tower: Any = SmallImage(**options)
    elif kind == EfficientNetLite.kind:
        tower = EfficientNetLite(**options, weights=options["frozen"])
    elif kind == "clip":
        tower = ClipImage(**options)
    else:
        raise InputError(f"image tower: got kind {kind!r}, expected one of 'clip', 'efficientnet-lite0', 'small'")
    if tower.frozen and tower.fingerprint != expected:
        raise InputError(
            f"{kind}: its weights changed since the checkpoint was saved (sha256 {tower.fingerprint[:12]}, expected "
            f"{str(expected)[:12]}); bring back the version it was trained with"
        )
    lists: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in (prepared or {}).items()
    }
    tower.preparation = Preparation(**lists) if lists else tower.preparation
    return tower
