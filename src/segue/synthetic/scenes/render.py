"""Rendering: from a scene to its picture and to the segment at each pixel of it.

Everything is drawn procedurally: the stuff by `shapes.backgrounds`, the things by the builders of `shapes.people`,
`animals`, `birds`, `vehicles` and `objects`. The same scene, size and style give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from segue.synthetic.scenes.scene import (
    ANIMALS,
    COLOURS,
    PEOPLE,
    PREDICATES,
    STUFF_CLASSES,
    THING_CLASSES,
    VEHICLES,
    Scene,
    Thing,
)
from segue.synthetic.scenes.shapes import animals, birds, objects, people, vehicles
from segue.synthetic.scenes.shapes.backgrounds import noise_crop, paint_stuff
from segue.synthetic.scenes.shapes.strokes import (
    PALETTE,
    RGB,
    XY,
    BoxTransform,
    Field,
    Shading,
    Sheet,
    Sprite,
    bounds,
    downsample,
    fit_to_box,
    rasterise,
)
from segue.types import InputError

_PEOPLE_POSES = ("standing", "walking", "running", "sitting", "waving", "jumping")
_SINGLE_POSES = {
    "car": "parked",
    "bus": "parked",
    "truck": "parked",
    "bicycle": "parked",
    "boat": "floating",
    "airplane": "flying",
}
_SINGLE_POSES |= {
    "tree": "standing",
    "house": "standing",
    "bench": "standing",
    "ball": "lying",
    "kite": "flying",
}
_SINGLE_POSES |= {"flower": "blooming", "balloon": "floating"}
POSES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(PEOPLE, _PEOPLE_POSES),
    "dog": ("standing", "sitting", "lying", "running"),
    "cat": ("walking", "sitting", "lying"),
    "horse": ("standing", "running", "grazing"),
    "cow": ("standing", "grazing", "lying"),
    "sheep": ("standing", "grazing", "lying"),
    "bird": ("flying", "perching"),
    "duck": ("swimming", "standing"),
    "umbrella": ("open", "closed"),
    **{kind: (pose,) for kind, pose in _SINGLE_POSES.items()},  # a single pose, which no caption mentions
}
_BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
NATURAL_COLOURS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*PEOPLE, "car", "bicycle", "ball", "umbrella"), COLOURS),
    "dog": ("brown", "black", "white", "gray"),
    "cat": ("black", "white", "gray", "orange", "brown"),
    "horse": ("brown", "black", "white", "gray"),
    "cow": ("brown", "black", "white"),
    "sheep": ("white", "black", "gray", "brown"),
    "bird": ("red", "blue", "yellow", "black", "white", "brown", "green", "gray"),
    "duck": ("yellow", "white", "brown", "gray"),
    "bus": ("red", "yellow", "blue", "green", "orange", "white", "purple"),
    "truck": ("red", "orange", "yellow", "green", "blue", "white", "gray", "black"),
    "boat": ("red", "blue", "white", "green", "yellow", "orange", "brown", "black"),
    "airplane": ("white", "gray", "red", "blue", "yellow", "orange"),
    "tree": ("green", "orange", "yellow", "red", "pink"),
    "house": ("red", "yellow", "white", "blue", "gray", "brown", "orange", "pink", "green"),
    "bench": ("brown", "green", "gray", "red", "blue", "white"),
    "kite": _BRIGHT,
    "flower": ("red", "orange", "yellow", "blue", "purple", "pink", "white"),
    "balloon": (*_BRIGHT, "white"),
}

Builder = Callable[[Sheet, str, str], None]
BUILDERS: dict[str, Builder] = {
    **dict.fromkeys(PEOPLE, people.person),
    **{kind: getattr(birds if kind in ("bird", "duck") else animals, kind) for kind in ANIMALS},
    **{kind: getattr(vehicles, kind) for kind in VEHICLES},
    **{kind: getattr(objects, kind) for kind in THING_CLASSES[len(PEOPLE) + len(ANIMALS) + len(VEHICLES) :]},
}
TYPICAL_EXTENT: dict[str, tuple[float, float]] = {  # (width, height), medium, at a middle distance, in the first pose
    "man": (0.13, 0.34), "woman": (0.11, 0.32), "child": (0.08, 0.23), "dog": (0.20, 0.15), "cat": (0.14, 0.11),
    "horse": (0.33, 0.32), "cow": (0.36, 0.26), "sheep": (0.24, 0.18), "bird": (0.13, 0.09), "duck": (0.16, 0.09),
    "car": (0.40, 0.19), "bus": (0.76, 0.32), "truck": (0.66, 0.30), "bicycle": (0.36, 0.21), "boat": (0.40, 0.26),
    "airplane": (0.38, 0.15), "tree": (0.35, 0.50), "house": (0.59, 0.44), "bench": (0.31, 0.17), "ball": (0.08, 0.08),
    "kite": (0.10, 0.20), "umbrella": (0.25, 0.22), "flower": (0.08, 0.14), "balloon": (0.11, 0.20),
}  # fmt: skip
AIRBORNE = ("airplane", "kite", "balloon")  # without a shadow, as a flying bird
SEATS = ("bench", "horse", "cow", "bicycle", "boat", "car", "truck", "bus")
HORIZONTAL_STUFF = ("grass", "sand", "water", "road", "snow")
STYLES = ("photo", "synthetic")


@dataclass(frozen=True)
class RenderedScene:
    """A picture with its segmentation. image: (S, S, 3) uint8 RGB. segments: (S, S) uint8, the visible segment of each
    pixel: 0..n-1 are the positions in scene.stuff, n + k is the k-th of scene.things. amodal_masks: (things, S, S)
    bool, each thing before others cover it. The string of a kite or a balloon belongs to no segment.
    """

    image: NDArray[np.uint8]
    segments: NDArray[np.uint8]
    amodal_masks: NDArray[np.bool_]


@dataclass(frozen=True)
class Light:
    """The light of a scene. cast: factors of R, G, B. elevation: how steeply it falls. volume: how strongly it shades.
    shadow, length: how dark and how long shadows are.
    """

    cast: RGB
    elevation: float
    volume: float
    shadow: float
    length: float


LIGHTS = {
    "day": Light((1.02, 1.0, 0.97), 0.75, 0.34, 0.40, 0.26),
    "evening": Light((1.04, 0.84, 0.68), 0.35, 0.42, 0.42, 0.42),
    "night": Light((0.46, 0.53, 0.76), 0.8, 0.28, 0.30, 0.2),
    "overcast": Light((0.88, 0.90, 0.93), 0.9, 0.2, 0.16, 0.12),
}


# ------------------------------------------------------------------------------------------------ things


def _sheet(thing: Thing, roles: frozenset[str], head_scale: float = 1.0) -> Sheet:
    rng = np.random.default_rng(thing.seed)
    hue = 0.008 if thing.colour in ("black", "white", "gray") else 0.02
    r, g, b = np.clip(
        np.array(PALETTE[thing.colour]) * (1 + 0.05 * rng.uniform(-1, 1)) + rng.uniform(-hue, hue, 3), 0, 1
    )
    sheet = Sheet(rng, (float(r), float(g), float(b)), thing.colour, head_scale, roles)
    BUILDERS[thing.kind](sheet, thing.kind, thing.pose)
    return sheet


def is_airborne(thing: Thing) -> bool:
    """Whether it flies or floats in the air, which decides its shadow and the ground that it belongs to."""
    return thing.kind in AIRBORNE or (thing.kind == "bird" and thing.pose == "flying")


def _frame(thing: Thing, sheet: Sheet) -> BoxTransform:
    return fit_to_box(sheet.parts, thing.box, thing.flip, is_airborne(thing))


def anchor_points(thing: Thing, roles: frozenset[str] = frozenset()) -> dict[str, XY]:
    """Named points of a thing in units of the picture's side, at which others are placed.

    A person's "hand" (pass the roles that its drawing will have: {"holding"}) and "seat", the "grip" of what can be
    held, the "back" on which one sits or stands.
    """
    sheet = _sheet(thing, roles)
    frame = _frame(thing, sheet)
    found = {}
    for name, at in sheet.anchors.items():
        x, y = frame(np.array([at]))[0]
        found[name] = (float(x), float(y))
    return found


def individual_extent(
    kind: str, pose: str, seed: int = 0, colour: str | None = None, roles: frozenset[str] = frozenset()
) -> tuple[float, float]:
    """Width and height of an individual in a pose, of medium size at a middle distance, in units of the picture's side.

    A box of these proportions is filled from edge to edge. TYPICAL_EXTENT has the mean of each kind in its first pose.
    """
    width, height = _outline_extent(kind, pose, seed, colour or NATURAL_COLOURS[kind][0], roles)
    scale = TYPICAL_EXTENT[kind][1] / _typical_outline_height(kind)
    return width * scale, height * scale


def _outline_extent(kind: str, pose: str, seed: int, colour: str, roles: frozenset[str]) -> tuple[float, float]:
    low, high = bounds(_sheet(Thing(kind, colour, "medium", pose, (0, 0, 1, 1), False, seed), roles).parts)
    return float(high[0] - low[0]), float(high[1] - low[1])


@cache
def _typical_outline_height(kind: str) -> float:
    """In the units of the outlines: the mean of some individuals in the first pose."""
    every = [
        _outline_extent(kind, POSES[kind][0], seed, NATURAL_COLOURS[kind][0], frozenset())[1] for seed in range(12)
    ]
    return float(np.mean(every))


def drawing_roles(scene: Scene) -> list[frozenset[str]]:
    """For each thing what its relations ask of its drawing: "holding", "held", "riding", "on"."""
    roles: list[set[str]] = [set() for _ in scene.things]
    for subject, predicate, other in scene.relations:
        if predicate == "holding":
            roles[subject].add("holding")
            roles[other].add("held")
        if predicate == "on":
            roles[subject].add("riding" if scene.things[other].kind in SEATS else "on")
    return [frozenset(found) for found in roles]


# ------------------------------------------------------------------------------------------------ the picture


def render(scene: Scene, size: int, style: str = "photo") -> RenderedScene:
    """Draw a scene. size: the side in pixels, at least 16. style: "photo", or "synthetic", as of a text-to-image model.

    Raises InputError for a bad kind, colour, pose, box, light, relation, size or style.
    """
    _check(scene, size, style)
    synthetic = style == "synthetic"
    rng = np.random.default_rng(scene.seed)
    side = 1.0 if rng.random() < 0.5 else -1.0
    light = LIGHTS[scene.light]
    rgb, segments = _backdrop(scene, size, light, 0.85 if synthetic else 0.0)
    masks = np.zeros((len(scene.things), size, size), dtype=bool)
    shading = _shading(light, side, synthetic)
    for k, (thing, roles) in enumerate(zip(scene.things, drawing_roles(scene), strict=True)):
        sheet = _sheet(thing, roles, 1.1 if synthetic else 1.0)
        span = max(thing.box[2:]) * size
        fine = 4 if span < 30 else 3 if span < 56 else 2
        sprite = rasterise(
            sheet.parts, _frame(thing, sheet), size, shading, fine, partial(noise_crop, offset=thing.seed % 251)
        )
        if sprite is None:
            continue
        if not (is_airborne(thing) or roles & {"held", "riding", "on"}):
            _add_shadow_or_reflection(rgb, segments, sprite, scene, light, side)
        masks[k, *sprite.window] = sprite.alpha > 0.5
        segments[masks[k]] = len(scene.stuff) + k
        _composite(rgb, sprite, light, scene.light == "night")
    _draw_strings(rgb, scene)
    finish = _synthetic_finish if synthetic else _camera_finish
    return RenderedScene(finish(rgb, rng, scene.light), segments, masks)


def _shading(light: Light, side: float, synthetic: bool) -> Shading:
    towards = (0.65 * side, light.elevation)
    if synthetic:
        return Shading((-0.35 * side, 0.9), 0.62 * light.volume + 0.16, 1.5, 0.0, 0.30)
    return Shading(towards, light.volume, 1.0, 0.036, 0.16)


def _backdrop(scene: Scene, size: int, light: Light, smooth: float) -> tuple[Field, NDArray[np.uint8]]:
    rgb = np.zeros((size, size, 3), dtype=np.float32)
    segments = np.zeros((size, size), dtype=np.uint8)
    for k, stuff in enumerate(scene.stuff):
        colours, cover = paint_stuff(stuff, size, scene.light, smooth)
        if stuff.kind not in ("sky", "water"):
            colours = colours * np.array(light.cast, dtype=np.float32)
        if k == 0:
            rgb += colours
            continue
        rgb += (colours - rgb) * cover[..., None]
        segments[cover > 0.5] = k
    return rgb, segments


def _composite(rgb: Field, sprite: Sprite, light: Light, night: bool) -> None:
    colours = sprite.rgb * np.array(light.cast, dtype=np.float32)
    if night:
        glow = sprite.glow[..., None]
        colours += (np.array([1.0, 0.86, 0.48], dtype=np.float32) - colours) * glow
    rgb[sprite.window] += (colours - rgb[sprite.window]) * sprite.alpha[..., None]


def _add_shadow_or_reflection(
    rgb: Field, segments: NDArray[np.uint8], sprite: Sprite, scene: Scene, light: Light, side: float
) -> None:
    """A shadow on horizontal ground, or a reflection where the thing's foot is in water."""
    h, w = sprite.alpha.shape
    foot, size = sprite.top + h - 1, len(rgb)
    under = int(segments[min(foot, size - 1), min(sprite.left + w // 2, size - 1)])
    kind = scene.stuff[under].kind if under < len(scene.stuff) else ""
    if kind == "water":
        _reflect(rgb, segments == under, sprite)
    elif kind in HORIZONTAL_STUFF:
        horizontal = np.zeros(256, dtype=np.float32)
        horizontal[: len(scene.stuff)] = [light.shadow * (stuff.kind in HORIZONTAL_STUFF) for stuff in scene.stuff]
        window, shadow = _shadow(sprite, size, light.length, -side)
        rgb[window] *= (1 - horizontal[segments[window]] * shadow)[..., None]


def _shadow(sprite: Sprite, size: int, long: float, lean: float) -> tuple[tuple[slice, slice], Field]:
    """The thing's blurred outline on the ground behind it, with a dark spot under its feet: its window, and (h, w)."""
    h, w = sprite.alpha.shape
    blur, reach = 0.5 + 0.02 * w + 0.004 * size, int(1.3 * long * h) + 1
    pad = int(3 * blur) + 2
    foot, shear = sprite.top + h, lean * 1.3
    y0, y1 = max(foot - int(long * h) - pad, 0), min(foot + pad + h // 16, size)
    x0, x1 = max(sprite.left - pad - reach * (lean < 0), 0), min(sprite.left + w + pad + reach * (lean > 0), size)
    flat = Image.fromarray((sprite.alpha * 255).astype(np.uint8))
    matrix = (1.0, shear, x0 - sprite.left + shear * (y0 - foot), 0.0, 1 / long, h + (y0 - foot) / long)
    cast = flat.transform((x1 - x0, y1 - y0), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    left, low, girth = sprite.left - x0, foot - y0, min(w, h)
    spot = (left + 0.06 * w, low - 0.09 * girth - 1, left + 0.94 * w, low + 0.05 * girth + 1)
    ImageDraw.Draw(cast).ellipse(spot, fill=230)
    soft = np.asarray(cast.filter(ImageFilter.GaussianBlur(blur)), dtype=np.float32) / 255
    return (slice(y0, y1), slice(x0, x1)), soft


def _reflect(rgb: Field, water: NDArray[np.bool_], sprite: Sprite) -> None:
    """The thing upside down in the water below it, shorter, paler and rippled."""
    h, w = sprite.alpha.shape
    foot, size = sprite.top + h, len(rgb)
    rows = np.arange(foot, min(foot + int(0.55 * h) + 1, size))
    if not len(rows):
        return
    source = np.clip(h - 1 - ((rows - foot) / 0.55).astype(int), 0, h - 1)
    ripple = np.round(0.006 * size * np.sin(rows * 700 / size)).astype(int)
    columns = np.clip(np.arange(w)[None] + ripple[:, None], 0, w - 1)
    fade = np.linspace(0.5, 0.12, len(rows), dtype=np.float32)[:, None]
    window = slice(foot, foot + len(rows)), slice(sprite.left, sprite.left + w)
    share = sprite.alpha[source[:, None], columns] * fade * water[window]
    rgb[window] += (0.8 * sprite.rgb[source[:, None], columns] - rgb[window]) * share[..., None]


def _draw_strings(rgb: Field, scene: Scene) -> None:
    """Draw the strings of held kites and balloons."""
    size, fine = len(rgb), 3
    for subject, predicate, other in scene.relations:
        held = scene.things[other]
        if predicate != "holding" or held.kind not in ("kite", "balloon"):
            continue
        start = anchor_points(scene.things[subject], frozenset({"holding"})).get("hand")
        end = anchor_points(held).get("grip")
        if start is None or end is None:
            continue
        sag = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.04 * abs(start[0] - end[0]))
        canvas = Image.new("L", (size * fine, size * fine), 0)
        path = [(x * size * fine, y * size * fine) for x, y in (start, sag, end)]
        ImageDraw.Draw(canvas).line(path, fill=255, width=max(1, round(0.004 * size * fine)), joint="curve")
        share = downsample(np.asarray(canvas, dtype=np.float32) / 255, fine)
        rgb += (np.float32(0.22) - rgb) * share[..., None] * np.float32(0.8)


# ------------------------------------------------------------------------------------------------ finish


def _camera_finish(rgb: Field, rng: np.random.Generator, light: str) -> NDArray[np.uint8]:
    """As a camera: slight blur, a vignette, grain, random errors of exposure and white balance."""
    size = len(rgb)
    soft = Image.fromarray((np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8))
    soft = soft.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.0014, 0.0030)))
    exposed = np.asarray(soft, dtype=np.float32) / 255
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    corner = axis[:, None] ** 2 + axis[None] ** 2
    balance = (rng.uniform(0.95, 1.05) * (1 + rng.uniform(-0.02, 0.02, 3))).astype(np.float32)
    exposed = exposed * balance * (1 - 0.32 * corner)[..., None]
    noise = rng.standard_normal((size, size, 1), dtype=np.float32) + 0.6 * rng.standard_normal(
        (size, size, 3), dtype=np.float32
    )
    exposed += noise * np.float32(0.017 if light == "night" else 0.010)
    return (np.clip(exposed, 0, 1) * 255 + 0.5).astype(np.uint8)


def _synthetic_finish(rgb: Field, rng: np.random.Generator, light: str) -> NDArray[np.uint8]:
    """As a text-to-image model: saturated, of high contrast, glowing, with teal shadows and pink lights."""
    grey = rgb.mean(-1, keepdims=True)
    vivid = np.clip(grey + 1.3 * (rgb - grey), 0, 1)
    curved = vivid + 0.35 * (vivid * vivid * (3 - 2 * vivid) - vivid)
    tone = (grey - 0.5) * np.array([0.07, 0.0, -0.03], dtype=np.float32) + np.array(
        [0.0, 0.012, 0.02], dtype=np.float32
    )
    picture = np.clip(curved + tone, 0, 1)
    small = Image.fromarray((picture * 255 + 0.5).astype(np.uint8))
    glow = np.asarray(small.filter(ImageFilter.GaussianBlur(len(rgb) * 0.03)), dtype=np.float32) / 255
    picture = 1 - (1 - picture) * (1 - 0.16 * glow * glow)
    result: NDArray[np.uint8] = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return result


def _check(scene: Scene, size: int, style: str) -> None:
    if style not in STYLES:
        raise InputError(f"style: got {style!r}, expected one of {', '.join(STYLES)}")
    if size < 16:
        raise InputError(f"size: got {size}, expected at least 16 pixels")
    if scene.light not in LIGHTS:
        raise InputError(f"light: got {scene.light!r}, expected one of {', '.join(LIGHTS)}")
    if not scene.stuff or len(scene.stuff) + len(scene.things) > 256:
        raise InputError(
            f"scene: got {len(scene.stuff)} of stuff and {len(scene.things)} things, expected 1 to 256 with some stuff"
        )
    for stuff in scene.stuff:
        if stuff.kind not in STUFF_CLASSES:
            raise InputError(f"stuff: got {stuff.kind!r}, expected one of {', '.join(STUFF_CLASSES)}")
    for thing in scene.things:
        _check_thing(thing)
    for subject, predicate, other in scene.relations:
        if predicate not in PREDICATES or not all(0 <= i < len(scene.things) for i in (subject, other)):
            raise InputError(
                f"relation: got {(subject, predicate, other)}, expected two positions in things and a predicate"
            )


def _check_thing(thing: Thing) -> None:
    for name, got, known in (("kind", thing.kind, THING_CLASSES), ("colour", thing.colour, COLOURS)):
        if got not in known:
            raise InputError(f"{name}: got {got!r}, expected one of {', '.join(known)}")
    if thing.pose not in POSES[thing.kind]:
        raise InputError(f"pose: got {thing.pose!r} for a {thing.kind}, expected one of {', '.join(POSES[thing.kind])}")
    if min(thing.box[2:]) <= 0:
        raise InputError(f"box of a {thing.kind}: got {thing.box}, expected a width and a height above zero")
