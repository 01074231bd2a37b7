"""How a man, a woman and a child are drawn: a skeleton of angles, dressed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from segue.synthetic.scenes.shapes.strokes import PALETTE, RGB, XY, Sheet, blob, ellipse, limb, mix, poly, rect, tint

SKIN: tuple[RGB, ...] = (
    (0.96, 0.80, 0.69),
    (0.88, 0.68, 0.53),
    (0.74, 0.52, 0.37),
    (0.55, 0.37, 0.26),
    (0.38, 0.25, 0.18),
)
HAIR: tuple[RGB, ...] = (
    (0.12, 0.10, 0.09),
    (0.28, 0.17, 0.10),
    (0.45, 0.28, 0.14),
    (0.80, 0.62, 0.30),
    (0.62, 0.27, 0.12),
)
CLOTH: tuple[RGB, ...] = (
    (0.20, 0.24, 0.36),
    (0.30, 0.30, 0.32),
    (0.42, 0.36, 0.29),
    (0.24, 0.32, 0.45),
    (0.17, 0.17, 0.19),
)


@dataclass(frozen=True)
class Posture:
    """Degrees from straight down, positive to the front; near and far limbs as (upper, lower)."""

    lean: float
    near_leg: XY
    far_leg: XY
    near_arm: XY
    far_arm: XY
    frontal: bool = False


POSTURES = {
    "standing": Posture(0, (5, 2), (-5, -2), (14, 6), (-14, -6), frontal=True),
    "waving": Posture(0, (6, 2), (-6, -2), (16, 8), (-125, -170), frontal=True),
    "jumping": Posture(0, (36, 6), (-36, -6), (125, 158), (-125, -158), frontal=True),
    "walking": Posture(-3, (27, 14), (-16, -38), (-26, -8), (26, 48)),
    "running": Posture(-14, (66, -12), (-24, -82), (-52, 38), (48, 125)),
    "sitting": Posture(5, (128, 30), (112, 36), (34, 62), (20, 48)),
    "riding": Posture(0, (78, 2), (70, -2), (38, 72), (30, 64)),
}
HOLDING = (58.0, 98.0)  # the arm of one who holds something


@dataclass(frozen=True)
class Build:
    """Lengths of a body: leg, torso, arm, half of the shoulders, radius of the head, width of a limb."""

    leg: float
    torso: float
    arm: float
    shoulder: float
    head: float
    limb: float


BUILDS = {
    "man": Build(leg=0.47, torso=0.33, arm=0.34, shoulder=0.105, head=0.092, limb=0.072),
    "woman": Build(leg=0.46, torso=0.31, arm=0.32, shoulder=0.085, head=0.092, limb=0.062),
    "child": Build(leg=0.30, torso=0.26, arm=0.24, shoulder=0.082, head=0.125, limb=0.070),
}


def _down(start: XY, degrees: float, length: float) -> XY:
    """The end of a bone that hangs from start."""
    a = np.deg2rad(degrees)
    return start[0] + length * float(np.sin(a)), start[1] - length * float(np.cos(a))


def _bones(start: XY, angles: XY, length: float) -> list[XY]:
    middle = _down(start, angles[0], length / 2)
    return [start, middle, _down(middle, angles[1], length / 2)]


def person(sheet: Sheet, kind: str, pose: str) -> None:
    """Dressed by chance: a dress or a shirt in the colour, hair, a hat, a beard. Marks: hand, seat."""
    build = _individual(sheet, BUILDS[kind])
    posture = POSTURES["riding" if pose == "sitting" and "riding" in sheet.roles else pose]
    tone = int(sheet.rng.integers(len(SKIN)))
    skin, hair, cloth = SKIN[tone], sheet.pick(*HAIR[: 5 - tone if tone > 1 else 5]), sheet.pick(*CLOTH)
    dress = (kind == "woman" and sheet.chance(0.6)) or (kind == "child" and sheet.chance(0.2))
    short = sheet.chance(0.35)
    hip = (0.0, build.leg)
    neck = _down(hip, 180 + posture.lean, build.torso)
    apart = build.shoulder if posture.frontal else build.shoulder * 0.25
    hips = apart * 0.45
    near_arm = HOLDING if "holding" in sheet.roles else posture.near_arm
    width = build.limb
    _arm(sheet, (neck[0] - apart, neck[1] - 0.035), posture.far_arm, build, skin, 0.0 if posture.frontal else -0.18)
    trousers = skin if dress else cloth
    _leg(
        sheet, (hip[0] - hips, hip[1]), posture.far_leg, build, trousers, skin, short, 0.0 if posture.frontal else -0.22
    )
    long_hair = kind == "woman" or (kind == "child" and sheet.chance(0.35))
    head = _down(neck, 180 + posture.lean * 0.6, build.head * 1.15)
    if long_hair:
        _long_hair(sheet, head, build.head, hair, posture)
    near_leg = partial(_leg, sheet, (hip[0] + hips, hip[1]), posture.near_leg, build, trousers, skin, short, 0.0)
    sits = posture.near_leg[0] > 70
    if not sits:
        near_leg()
    _torso(sheet, hip, neck, build, posture)
    if sits:
        near_leg()
    if dress:
        _skirt(sheet, hip, hips, build, posture)
    sheet.add(limb([neck, head], [width * 0.75, width * 0.75]), tint(skin, -0.12))
    _head(sheet, head, build.head, skin, hair, kind, posture)
    hand = _arm(sheet, (neck[0] + apart, neck[1] - 0.035), near_arm, build, skin, 0.06)
    sheet.anchors["hand"] = hand
    sheet.anchors["seat"] = (hip[0], hip[1] - width * 0.8)


def _individual(sheet: Sheet, b: Build) -> Build:
    girth, tall = sheet.vary(0.88, 1.18), sheet.vary(0.95, 1.05)
    return Build(b.leg * tall, b.torso, b.arm, b.shoulder * girth, b.head * sheet.head_scale, b.limb * girth)


def _arm(sheet: Sheet, shoulder: XY, angles: XY, build: Build, skin: RGB, light: float) -> XY:
    bones = _bones(shoulder, angles, build.arm)
    w, sleeve = build.limb * 0.85, tint(sheet.rgb, light - 0.07)
    sheet.add(limb(bones, [w, w * 0.9, w * 0.72]), sleeve, 0.5)
    hand = _down(bones[2], angles[1], w * 0.4)
    sheet.add(ellipse(*hand, w * 0.52, w * 0.52), skin if light >= 0 else tint(skin, light))
    return hand


def _leg(sheet: Sheet, hip: XY, angles: XY, build: Build, cloth: RGB, skin: RGB, short: bool, light: float) -> None:
    bones = _bones(hip, angles, build.leg)
    w = build.limb
    knee, foot = bones[1], bones[2]
    toe = 1.0 if angles[1] > -60 else 0.35
    shoe = ellipse(foot[0] + 0.45 * w * toe, foot[1] - 0.1 * w, w * 0.85, w * 0.42, turn=max(angles[1], -70) * 0.6 + 3)
    sheet.add(shoe, tint(mix(cloth, (0.2, 0.13, 0.1), 0.7), light - 0.1))
    if short:
        sheet.add(limb(bones, [w, w * 0.85, w * 0.6]), tint(skin, light) if light < 0 else skin)
        half = ((knee[0] + foot[0]) / 2 * 0.3 + knee[0] * 0.7, (knee[1] + foot[1]) / 2 * 0.3 + knee[1] * 0.7)
        bones = [hip, ((hip[0] + knee[0]) / 2, (hip[1] + knee[1]) / 2), half]
    colour = tint(cloth, light) if light < 0 else cloth
    sheet.add(limb(bones, [w * 1.25, w * 1.05, w * 0.85]), colour, 0.5)


def _torso(sheet: Sheet, hip: XY, neck: XY, build: Build, posture: Posture) -> None:
    side = build.shoulder * (1.0 if posture.frontal else 0.72)
    hips = side * 0.78
    lift = (hip[1] + neck[1]) / 2
    middle = (hip[0] + neck[0]) / 2
    shirt = blob(
        (hip[0] - hips, hip[1] - 0.04), (middle - side * 0.85, lift), (neck[0] - side, neck[1] - 0.055),
        (neck[0] - side * 0.45, neck[1] + 0.002), (neck[0] + side * 0.45, neck[1] + 0.002),
        (neck[0] + side, neck[1] - 0.055), (middle + side * 0.85, lift), (hip[0] + hips, hip[1] - 0.04),
    )  # fmt: skip
    sheet.add(shirt, sheet.rgb, 0.6)
    if sheet.chance(0.3):
        stripe = tint(sheet.rgb, 0.35 if sum(sheet.rgb) < 2 else -0.2)
        y = lift + 0.02
        sheet.add(rect(middle - side * 0.82, y, middle + side * 0.82, y + 0.03), stripe, 0.6)


def _skirt(sheet: Sheet, hip: XY, hips: float, build: Build, posture: Posture) -> None:
    knees = [
        _bones((hip[0] + s * hips, hip[1]), a, build.leg)[1] for s, a in ((1, posture.near_leg), (-1, posture.far_leg))
    ]
    right, left = max(k[0] for k in knees) + 0.055, min(k[0] for k in knees) - 0.055
    low = min(k[1] for k in knees) - 0.02
    side = build.shoulder * 0.72
    if max(posture.near_leg[0], posture.far_leg[0]) > 60:  # over the thighs
        knee = knees[0]
        w = build.limb
        sheet.add(limb([hip, knee], [w * 1.9, w * 1.5]), tint(sheet.rgb, -0.06), 0.6)
        return
    sheet.add(
        poly((hip[0] - side, hip[1] + 0.08), (hip[0] + side, hip[1] + 0.08), (right, low), (left, low)), sheet.rgb, 0.6
    )


def _long_hair(sheet: Sheet, head: XY, r: float, hair: RGB, posture: Posture) -> None:
    x, y = head
    if posture.frontal:
        sheet.add(
            blob(
                (x - r, y + 0.3 * r),
                (x, y + r * 1.1),
                (x + r, y + 0.3 * r),
                (x + r * 1.02, y - r * 1.5),
                (x, y - r * 1.7),
                (x - r * 1.02, y - r * 1.5),
            ),
            tint(hair, -0.15),
        )
    else:
        swing = 1.0 if posture.lean < -8 else 0.3
        sheet.add(
            limb(
                [(x - 0.1 * r, y + 0.4 * r), (x - r, y - 0.2 * r), (x - r * (0.95 + swing), y - r * (1.7 - swing))],
                [r * 1.2, r * 0.95, r * 0.4],
            ),
            tint(hair, -0.1),
        )


def _head(sheet: Sheet, head: XY, r: float, skin: RGB, hair: RGB, kind: str, posture: Posture) -> None:
    x, y = head
    ahead = 0.0 if posture.frontal else 0.3 * r
    sheet.add(ellipse(x, y, r * 0.84, r), skin, 0.5)
    if not posture.frontal:
        sheet.add(ellipse(x + 0.8 * r, y - 0.08 * r, r * 0.2, r * 0.17), skin, 0.3)
    if kind == "man" and sheet.chance(0.3):
        sheet.add(
            blob(
                (x - 0.6 * r + ahead, y - 0.25 * r),
                (x + ahead * 0.6, y - 0.5 * r),
                (x + 0.75 * r, y - 0.25 * r),
                (x + 0.5 * r, y - 0.95 * r),
                (x + ahead * 0.5, y - 1.1 * r),
                (x - 0.5 * r + ahead, y - 0.9 * r),
            ),
            hair,
            0.3,
        )
    _face(sheet, x + ahead, y, r, hair, posture.frontal)
    _hair_or_hat(sheet, x, y, r, hair, kind, posture.frontal)


def _face(sheet: Sheet, x: float, y: float, r: float, hair: RGB, frontal: bool) -> None:
    for at in (-0.32, 0.32):
        sheet.add(ellipse(x + at * r, y + 0.02 * r, 0.1 * r, 0.13 * r), (0.1, 0.08, 0.08), 0)
    sheet.add(ellipse(x + 0.02 * r, y - 0.42 * r, 0.26 * r, 0.1 * r, arc=(180, 360)), (0.62, 0.22, 0.2), 0)


def _hair_or_hat(sheet: Sheet, x: float, y: float, r: float, hair: RGB, kind: str, frontal: bool) -> None:
    back = 0.0 if frontal else 0.28 * r
    if kind != "woman" and sheet.chance(0.25):
        hat = sheet.pick(PALETTE["red"], PALETTE["blue"], PALETTE["brown"], PALETTE["white"], tint(sheet.rgb, -0.15))
        sheet.add(ellipse(x, y + 0.35 * r, r * 0.95, r * 0.85, arc=(0, 180)), hat, 0.5)
        brim = r * (1.25 if kind == "man" else 1.0)
        sheet.add(ellipse(x + (0 if frontal else 0.45 * r), y + 0.37 * r, brim, 0.14 * r), tint(hat, -0.2), 0.2)
        return
    line = y + (0.3 if frontal else 0.25) * r
    cap = blob(
        (x - 0.92 * r - back * 0.2, y - 0.25 * r - back * 0.8),
        (x - 0.9 * r, y + 0.5 * r),
        (x - 0.3 * r, y + 1.08 * r),
        (x + 0.4 * r, y + 1.03 * r),
        (x + 0.88 * r, y + 0.5 * r),
        (x + (0.84 if frontal else 0.7) * r, y + 0.1 * r),
        (x + 0.55 * r, line + 0.22 * r),
        (x - 0.1 * r, line + 0.2 * r),
        (x - 0.55 * r + back, line - 0.05 * r),
    )
    sheet.add(cap, hair, 0.45)
