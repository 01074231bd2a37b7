"""How the animals on four legs are drawn: each has its own body and head, and legs by its pose."""

from __future__ import annotations

import numpy as np

from segue.synthetic.scenes.shapes.strokes import (  # fmt: skip
    RGB,
    XY,
    Points,
    Sheet,
    blob,
    ellipse,
    limb,
    mix,
    poly,
    rotated,
    tint,
)

DARK: RGB = (0.08, 0.07, 0.07)


def _at(points: Points, x: float, y: float, scale: float = 1.0, turn: float = 0.0) -> Points:
    """An outline drawn about the origin, scaled, turned and set down."""
    result: Points = rotated(points * scale, turn) + np.array([x, y])
    return result


def _leg(sheet: Sheet, top: XY, length: float, width: float, rgb: RGB, angles: XY, hoof: RGB | None = None) -> None:
    """Thigh and shin, by their degrees from straight down (positive: forward)."""
    points = [top]
    for a in angles:
        x, y = points[-1]
        points.append((x + length / 2 * float(np.sin(np.deg2rad(a))), y - length / 2 * float(np.cos(np.deg2rad(a)))))
    sheet.add(limb(points, [width * 1.35, width * 0.9, width * 0.8]), rgb, 0.5)
    foot = points[-1]
    if hoof is None:
        sheet.add(ellipse(foot[0] + width * 0.25, foot[1] - width * 0.05, width * 0.68, width * 0.42), rgb, 0.4)
    else:
        sheet.add(
            poly(
                (foot[0] - width * 0.42, foot[1] + width * 0.5),
                (foot[0] + width * 0.42, foot[1] + width * 0.5),
                (foot[0] + width * 0.58, foot[1] - width * 0.42),
                (foot[0] - width * 0.5, foot[1] - width * 0.42),
            ),
            hoof,
            0.2,
        )


GAITS: dict[str, tuple[XY, XY, XY, XY]] = {  # hind far, fore far, hind near, fore near
    "standing": ((8, -6), (3, 1), (-10, 8), (-2, 1)),
    "walking": ((24, -4), (26, 6), (-14, -22), (-16, -24)),
    "running": ((-44, -66), (56, 24), (-24, -58), (36, 68)),
}


def eye(sheet: Sheet, x: float, y: float, r: float, white: bool = False) -> None:
    """A dark dot, on dark heads in a white one."""
    if white:
        sheet.add(ellipse(x, y, r * 1.5, r * 1.5), (0.97, 0.97, 0.95), 0)
    sheet.add(ellipse(x, y, r, r), DARK, 0)


def _patches(sheet: Sheet, spots: list[tuple[float, float, float, float]], rgb: RGB, p: float) -> None:
    for x, y, rx, ry in spots:
        if sheet.chance(p):
            k = [sheet.vary(0.75, 1.1) for _ in range(6)]
            angles = np.deg2rad(np.arange(6) * 60 + sheet.vary(0, 60))
            sheet.add(
                blob(
                    *[
                        (x + rx * k[i] * float(np.cos(a)), y + ry * k[i] * float(np.sin(a)))
                        for i, a in enumerate(angles)
                    ],
                    steps=4,
                ),
                rgb,
                0.2,
            )


def _marking(rgb: RGB) -> RGB:
    """What patches are coloured on such a coat."""
    return tint(rgb, -0.72) if sum(rgb) > 2.2 else mix(rgb, (0.95, 0.92, 0.86), 0.75)


# ------------------------------------------------------------------------------------------------ dog and cat


def dog(sheet: Sheet, kind: str, pose: str) -> None:
    """Floppy or pricked ears, a snout, a collar, patches."""
    _pet(sheet, pose, slim=sheet.vary(0.95, 1.15), cat=False)


def cat(sheet: Sheet, kind: str, pose: str) -> None:
    """A round face that looks at you, pointed ears, whiskers, a long tail, stripes."""
    _pet(sheet, pose, slim=sheet.vary(0.82, 0.95), cat=True)


def _pet(sheet: Sheet, pose: str, slim: float, cat: bool) -> None:
    body = {"sitting": _sitting_pet, "lying": _lying_pet}.get(pose, _upright_pet)
    head = body(sheet, pose, slim, cat)
    (_cat_head if cat else _dog_head)(sheet, *head)


def _pet_tail(sheet: Sheet, root: XY, cat: bool, up: float) -> None:
    x, y = root
    if cat:
        path = [
            (x, y),
            (x - 0.22, y + 0.02 * up),
            (x - 0.30, y + 0.30 * up),
            (x - 0.18, y + 0.48 * up),
            (x - 0.26, y + 0.60 * up),
        ]
        sheet.add(limb(path, [0.09, 0.08, 0.08, 0.08, 0.07]), tint(sheet.rgb, -0.08))
    else:
        curl = sheet.vary(0.6, 1.1)
        sheet.add(
            limb([(x, y), (x - 0.15, y + 0.1 * up), (x - 0.2 * curl, y + 0.32 * up)], [0.11, 0.09, 0.05]),
            tint(sheet.rgb, -0.06),
        )


def _upright_pet(sheet: Sheet, pose: str, slim: float, cat: bool) -> tuple[float, float]:
    rgb, far = sheet.rgb, tint(sheet.rgb, -0.28)
    gait, d = GAITS[pose], 0.05 if pose == "running" else 0.0
    leg, w = (0.38 if cat else 0.42), (0.095 if cat else 0.105)
    _pet_tail(sheet, (-0.40 - d, 0.60), cat, 0.35 if pose == "running" else 1.0)
    _leg(sheet, (-0.26 - d, 0.46), leg, w, far, gait[0])
    _leg(sheet, (0.30 + d, 0.46), leg, w, far, gait[1])
    belly = 0.5 - 0.14 * slim
    trunk = blob(
        (-0.44 - d, 0.58),
        (-0.25, 0.655),
        (0.05, 0.64),
        (0.32 + d, 0.69),
        (0.43 + d, 0.55),
        (0.32 + d, belly - 0.02),
        (0.02, belly + 0.04),
        (-0.22, belly + 0.05),
        (-0.42 - d, 0.44),
    )
    sheet.add(trunk, rgb, 0.7, rough=0.6)
    _coat(sheet, cat, [(-0.2, 0.55, 0.13, 0.08), (0.12, 0.56, 0.12, 0.07)])
    _leg(sheet, (-0.34 - d, 0.48), leg + 0.02, w, rgb, gait[2])
    _leg(sheet, (0.24 + d, 0.46), leg, w, rgb, gait[3])
    top = (0.46 + d, 0.80 if cat else 0.86)
    sheet.add(limb([(0.32 + d, 0.56), top], [0.27 * slim, 0.19]), rgb, 0.4, rough=0.6)
    return top


def _sitting_pet(sheet: Sheet, pose: str, slim: float, cat: bool) -> tuple[float, float]:
    rgb = sheet.rgb
    _pet_tail(sheet, (-0.22, 0.07), cat, 0.62 if cat else 0.5)
    _leg(sheet, (0.17, 0.42), 0.40, 0.10, tint(rgb, -0.28), (6, 2))
    trunk = blob(
        (-0.30, 0.10),
        (-0.26, 0.32),
        (-0.08, 0.56),
        (0.08, 0.72),
        (0.24, 0.66),
        (0.26, 0.45),
        (0.20, 0.22),
        (0.10, 0.04),
        (-0.18, 0.01),
    )
    sheet.add(trunk, rgb, 0.7, rough=0.6)
    _coat(sheet, cat, [(-0.12, 0.38, 0.1, 0.1), (0.08, 0.52, 0.09, 0.08)])
    sheet.add(ellipse(-0.09, 0.17, 0.20, 0.165, turn=20), tint(rgb, 0.03), 0.7, rough=0.6)
    sheet.add(ellipse(0.04, 0.035, 0.15, 0.05), rgb, 0.4)
    _leg(sheet, (0.19, 0.42), 0.40, 0.10, tint(rgb, 0.04), (0, 2))
    return 0.17, 0.84


def _lying_pet(sheet: Sheet, pose: str, slim: float, cat: bool) -> tuple[float, float]:
    rgb = sheet.rgb
    _pet_tail(sheet, (-0.48, 0.10), cat, 0.25)
    sheet.add(limb([(0.25, 0.12), (0.62, 0.05)], [0.13, 0.09]), tint(rgb, -0.28))
    trunk = blob(
        (-0.52, 0.14),
        (-0.40, 0.33),
        (-0.10, 0.36),
        (0.22, 0.40),
        (0.40, 0.38),
        (0.42, 0.15),
        (0.30, 0.03),
        (-0.30, 0.01),
    )
    sheet.add(trunk, rgb, 0.7, rough=0.6)
    _coat(sheet, cat, [(-0.1, 0.25, 0.12, 0.07), (0.16, 0.27, 0.1, 0.07)])
    sheet.add(ellipse(-0.33, 0.155, 0.18, 0.15, turn=15), tint(rgb, 0.03), 0.6, rough=0.6)
    sheet.add(limb([(-0.30, 0.05), (-0.10, 0.045)], [0.09, 0.08]), rgb)
    sheet.add(limb([(0.22, 0.10), (0.56, 0.045)], [0.13, 0.09]), tint(rgb, 0.04))
    return 0.42, 0.50


def _coat(sheet: Sheet, cat: bool, spots: list[tuple[float, float, float, float]]) -> None:
    if not cat:
        _patches(sheet, spots, _marking(sheet.rgb), 0.35)
    elif sheet.chance(0.5):
        stripe = tint(sheet.rgb, -0.38) if sum(sheet.rgb) > 0.8 else tint(sheet.rgb, 0.18)
        for x, y, rx, ry in spots:
            for k in (-1, 0, 1):
                at = x + k * rx * 0.75
                sheet.add(limb([(at, y + ry), (at + 0.02, y - ry * 0.5)], [0.035, 0.015]), stripe, 0.1)


def _dog_head(sheet: Sheet, x: float, y: float) -> None:
    s, rgb = sheet.head_scale, sheet.rgb
    dark, pale = tint(rgb, -0.3), mix(rgb, (0.97, 0.94, 0.88), 0.45 if sheet.chance(0.5) else 0.1)
    long = sheet.vary(0.85, 1.15)
    sheet.add(
        _at(limb([(-0.14, -0.17), (0.06, -0.21)], [0.05, 0.05]), x, y),
        sheet.pick((0.8, 0.15, 0.15), (0.15, 0.3, 0.7), (0.2, 0.2, 0.2)),
    )
    sheet.add(_at(ellipse(0.02, 0.03, 0.165, 0.15), x, y, s), rgb, 0.6, rough=0.6)
    sheet.add(_at(limb([(0.08, -0.01), (0.15 + 0.11 * long, -0.05)], [0.18, 0.125]), x, y, s), pale, 0.5)
    sheet.add(_at(ellipse(0.20 + 0.11 * long, -0.015, 0.042, 0.035), x, y, s), DARK, 0.3, 0.5)
    sheet.add(_at(limb([(0.20 + 0.10 * long, -0.085), (0.13, -0.085)], [0.018, 0.012]), x, y, s), DARK, 0)
    eye(sheet, x + 0.085 * s, y + 0.07 * s, 0.024 * s)
    ear = (
        poly((-0.13, 0.1), (-0.07, 0.30), (0.04, 0.14))
        if sheet.chance(0.35)
        else blob((-0.05, 0.16), (0.0, 0.05), (-0.04, -0.15), (-0.12, -0.18), (-0.165, -0.02), (-0.12, 0.13))
    )
    sheet.add(_at(ear, x, y, s), dark, 0.4)


def _cat_head(sheet: Sheet, x: float, y: float) -> None:
    s, rgb = sheet.head_scale * 1.08, sheet.rgb
    pale = mix(rgb, (0.98, 0.95, 0.9), 0.55)
    for side in (-1, 1):
        sheet.add(_at(poly((side * 0.15, 0.05), (side * 0.145, 0.26), (side * 0.02, 0.13)), x, y, s), rgb, 0.3)
        sheet.add(
            _at(poly((side * 0.13, 0.08), (side * 0.128, 0.20), (side * 0.05, 0.13)), x, y, s), (0.86, 0.55, 0.55), 0
        )
    sheet.add(_at(ellipse(0, 0, 0.18, 0.155), x, y, s), rgb, 0.6, rough=0.6)
    sheet.add(_at(ellipse(0, -0.07, 0.095, 0.07), x, y, s), pale, 0.3)
    iris = sheet.pick((0.55, 0.75, 0.25), (0.90, 0.72, 0.2), (0.35, 0.65, 0.8))
    for side in (-1, 1):
        sheet.add(_at(ellipse(side * 0.075, 0.025, 0.04, 0.043), x, y, s), iris, 0)
        sheet.add(_at(ellipse(side * 0.075, 0.025, 0.016, 0.04), x, y, s), DARK, 0)
        for k in (-1, 1):
            sheet.add(
                _at(limb([(side * 0.07, -0.065), (side * 0.23, -0.06 + k * 0.03)], [0.01, 0.006]), x, y, s),
                (0.9, 0.9, 0.9) if sum(rgb) < 1.5 else (0.35, 0.33, 0.32),
                0,
            )
    sheet.add(_at(poly((-0.028, -0.03), (0.028, -0.03), (0, -0.065)), x, y, s), (0.85, 0.45, 0.45), 0)
    sheet.add(_at(ellipse(0, -0.085, 0.035, 0.025, arc=(180, 360)), x, y, s), tint(rgb, -0.5), 0)


# ------------------------------------------------------------------------------------------------ horse, cow, sheep


def horse(sheet: Sheet, kind: str, pose: str) -> None:
    """Long legs, a mane, a long tail; sometimes a blaze and white feet. Mark: back, where a rider sits."""
    rgb, far = sheet.rgb, tint(sheet.rgb, -0.25)
    mane = sheet.pick(tint(rgb, -0.55), tint(rgb, -0.35), (0.92, 0.88, 0.78)) if sum(rgb) > 0.6 else DARK
    mane = tint(rgb, -0.35) if sum(rgb) > 2.4 else mane
    gait, w, run = (
        GAITS["walking" if pose == "walking" else "running" if pose == "running" else "standing"],
        0.085,
        pose == "running",
    )
    lift = 0.16 if run else 0.0
    tail = (
        [(-0.52, 0.98), (-0.72, 0.98 + lift), (-0.85, 0.72 + 2 * lift)]
        if run
        else [(-0.52, 0.98), (-0.66, 0.86), (-0.66, 0.42)]
    )
    sheet.add(limb(tail, [0.08, 0.13, 0.03]), mane, 0.4)
    sock = (0.95, 0.93, 0.9) if sheet.chance(0.3) else rgb
    for top, angles in (((-0.40, 0.72), gait[0]), ((0.40, 0.70), gait[1])):
        _leg(sheet, top, 0.68, w, far, angles, DARK)
    trunk = blob(
        (-0.58, 0.90),
        (-0.42, 1.03),
        (-0.05, 0.97),
        (0.30, 1.04),
        (0.52, 0.92),
        (0.46, 0.68),
        (0.15, 0.62),
        (-0.2, 0.64),
        (-0.5, 0.68),
    )
    sheet.add(trunk, rgb, 0.75, 0.1, 0.3)
    _patches(sheet, [(-0.2, 0.85, 0.16, 0.1), (0.2, 0.86, 0.13, 0.09)], _marking(rgb), 0.2)
    for top, angles in (((-0.46, 0.74), gait[2]), ((0.34, 0.70), gait[3])):
        _leg(sheet, top, 0.70, w, rgb, angles, DARK if sock is rgb else tint(sock, -0.4))
    sheet.anchors["back"] = (-0.02, 1.0)
    poll, down = ((0.92, 0.34), -58.0) if pose == "grazing" else ((0.84, 1.28), -38.0) if run else ((0.70, 1.42), -50.0)
    _horse_neck(sheet, poll, rgb, mane, down, pose == "grazing")


def _horse_neck(sheet: Sheet, poll: XY, rgb: RGB, mane: RGB, down: float, low: bool) -> None:
    root, s = (0.40, 0.88), sheet.head_scale
    bend = ((root[0] + poll[0]) / 2 + 0.05, (root[1] + poll[1]) / 2 + (0.12 if low else -0.02))
    crest = [(0.28, 1.02), (bend[0] - 0.13, bend[1] + 0.09), (poll[0] - 0.04, poll[1] + 0.08)]
    sheet.add(limb([root, bend, poll], [0.40, 0.27, 0.17]), rgb, 0.5, 0.1)
    sheet.add(limb(crest, [0.09, 0.13, 0.09]), mane, 0.4, rough=0.8)
    muzzle = tint(rgb, -0.3)
    sheet.add(_at(poly((-0.02, 0.06), (0.02, 0.20), (0.08, 0.07)), *poll, s), rgb, 0.3)
    sheet.add(
        _at(
            blob(
                (-0.08, 0.04),
                (0.05, 0.10),
                (0.22, 0.06),
                (0.38, 0.045),
                (0.41, -0.02),
                (0.37, -0.07),
                (0.18, -0.07),
                (0.02, -0.12),
            ),
            *poll,
            s,
            down,
        ),
        rgb,
        0.5,
        0.1,
    )
    sheet.add(_at(ellipse(0.37, -0.01, 0.06, 0.06), *poll, s, down), muzzle, 0.4)
    if sheet.chance(0.4) and sum(rgb) < 2.4:
        sheet.add(_at(limb([(0.10, 0.075), (0.32, 0.04)], [0.03, 0.035]), *poll, s, down), (0.95, 0.93, 0.9), 0)
    sheet.add(_at(ellipse(0.11, 0.03, 0.02, 0.024), *poll, s, down), DARK, 0)
    sheet.add(_at(ellipse(0.385, 0.02, 0.012, 0.014), *poll, s, down), DARK, 0)


def cow(sheet: Sheet, kind: str, pose: str) -> None:
    """A deep straight body with patches, horns, a pink muzzle, an udder. Mark: back."""
    rgb, far, lying = sheet.rgb, tint(sheet.rgb, -0.25), pose == "lying"
    drop = -0.46 if lying else 0.0
    sheet.add(limb([(-0.60, 1.0 + drop), (-0.68, 0.82 + drop), (-0.66, 0.52 + drop * 0.7)], [0.05, 0.045, 0.035]), far)
    sheet.add(ellipse(-0.66, 0.47 + drop * 0.7, 0.045, 0.09), tint(rgb, -0.5))
    if not lying:
        for top, angles in (((-0.42, 0.60), GAITS["standing"][0]), ((0.44, 0.58), GAITS["standing"][1])):
            _leg(sheet, top, 0.54, 0.115, far, angles, DARK)
        sheet.add(ellipse(-0.24, 0.48, 0.13, 0.09), (0.92, 0.66, 0.64), 0.5)
    else:
        sheet.add(limb([(0.35, 0.14), (0.70, 0.06)], [0.16, 0.11]), far)
    trunk = np.array([0, drop]) + blob(
        (-0.62, 0.92),
        (-0.58, 1.04),
        (-0.2, 1.03),
        (0.2, 1.04),
        (0.52, 1.03),
        (0.60, 0.82),
        (0.46, 0.52),
        (0.1, 0.47),
        (-0.3, 0.49),
        (-0.58, 0.56),
    )
    sheet.add(trunk, rgb, 0.75)
    spots = [
        (-0.40, 0.88, 0.16, 0.12),
        (-0.05, 0.76, 0.18, 0.14),
        (0.28, 0.92, 0.15, 0.09),
        (0.30, 0.66, 0.1, 0.09),
        (-0.42, 0.64, 0.09, 0.07),
    ]
    _patches(
        sheet,
        [(x, y + drop, rx, ry) for x, y, rx, ry in spots],
        _marking(rgb),
        0.75 if sum(rgb) > 2.2 or sum(rgb) < 0.6 else 0.3,
    )
    if lying:
        sheet.add(ellipse(-0.40, 0.17, 0.24, 0.16, turn=12), tint(rgb, 0.03), 0.6)
        sheet.add(limb([(-0.30, 0.07), (-0.02, 0.06)], [0.12, 0.1]), rgb)
        sheet.add(limb([(0.30, 0.16), (0.46, 0.07), (0.20, 0.05)], [0.16, 0.12, 0.1]), rgb)
    else:
        for top, angles in (((-0.48, 0.62), GAITS["standing"][2]), ((0.38, 0.58), GAITS["standing"][3])):
            _leg(sheet, top, 0.55, 0.115, rgb, angles, DARK)
    sheet.anchors["back"] = (0.0, 1.03 + drop)
    _cow_head(
        sheet,
        *((0.84, 0.36, -62.0) if pose == "grazing" else (0.72, 1.06 + drop, -38.0)),
        low=pose == "grazing",
        drop=drop,
    )


def _cow_head(sheet: Sheet, x: float, y: float, turn: float, low: bool, drop: float) -> None:
    rgb, s = sheet.rgb, sheet.head_scale
    sheet.add(limb([(0.46, 0.82 + drop), (x + 0.02, y - (0.0 if low else 0.02))], [0.42, 0.24]), rgb, 0.5)
    horn = (0.90, 0.86, 0.74)
    if sheet.chance(0.7):
        sheet.add(
            _at(limb([(-0.06, 0.08), (-0.04, 0.20), (0.06, 0.27)], [0.055, 0.045, 0.015]), x, y, s, turn + 30), horn
        )
    sheet.add(_at(ellipse(-0.13, 0.04, 0.11, 0.05, turn=20), x, y, s, turn + 25), tint(rgb, -0.25))
    sheet.add(
        _at(
            blob(
                (-0.10, 0.10),
                (0.06, 0.13),
                (0.24, 0.10),
                (0.34, 0.06),
                (0.36, -0.06),
                (0.26, -0.11),
                (0.05, -0.15),
                (-0.10, -0.10),
            ),
            x,
            y,
            s,
            turn,
        ),
        rgb,
        0.5,
    )
    sheet.add(_at(ellipse(0.32, -0.01, 0.09, 0.115), x, y, s, turn), (0.90, 0.68, 0.64), 0.4)
    sheet.add(_at(ellipse(0.36, 0.04, 0.018, 0.022), x, y, s, turn), DARK, 0)
    if sheet.chance(0.5):
        sheet.add(_at(blob((0.0, 0.10), (0.16, 0.11), (0.22, 0.06), (0.06, 0.03)), x, y, s, turn), _marking(rgb), 0)
    sheet.add(_at(ellipse(0.10, 0.05, 0.024, 0.026), x, y, s, turn), DARK, 0)


def sheep(sheet: Sheet, kind: str, pose: str) -> None:
    """A cloud of wool on thin legs, with a bare face."""
    rgb, lying = sheet.rgb, pose == "lying"
    face = (
        sheet.pick(DARK, (0.25, 0.22, 0.2), (0.86, 0.76, 0.66))
        if sum(rgb) > 1.2
        else sheet.pick(DARK, (0.86, 0.76, 0.66))
    )
    legs, drop = tint(face, -0.1), -0.32 if lying else 0.0
    for x, light in ((-0.26, -0.3), (0.28, -0.3), (-0.34, 0.0), (0.20, 0.0)):
        if not lying:
            _leg(sheet, (x, 0.42), 0.40, 0.075, tint(legs, light), (3 if light else -3, 1), DARK)
    sheet.add(ellipse(-0.50, 0.62 + drop, 0.08, 0.07), tint(rgb, -0.1))
    sheet.add(_wool(sheet, 0, 0.62 + drop, 0.50, 0.29, 13), rgb, 0.8, rough=1.6)
    for _ in range(9):
        x, y = sheet.vary(-0.36, 0.36), sheet.vary(0.46, 0.80) + drop
        sheet.add(ellipse(x, y, 0.075, 0.06), tint(rgb, sheet.vary(-0.05, 0.03)), 0.5, rough=1.4)
    if lying:
        sheet.add(limb([(0.22, 0.06), (0.48, 0.05)], [0.09, 0.08]), legs)
    hx, hy = (0.60, 0.36) if pose == "grazing" else (0.56, 0.84 + drop)
    _sheep_head(sheet, hx, hy, -62.0 if pose == "grazing" else -32.0, face)
    sheet.anchors["back"] = (0.0, 0.93 + drop)


def _wool(sheet: Sheet, x: float, y: float, rx: float, ry: float, bumps: int) -> Points:
    t = np.linspace(0, 2 * np.pi, bumps * 8, endpoint=False)
    k = 1 + 0.09 * np.abs(np.sin(bumps * t / 2 + sheet.vary(0, 3)))
    return np.stack([x + rx * k * np.cos(t), y + ry * k * np.sin(t)], 1)


def _sheep_head(sheet: Sheet, x: float, y: float, turn: float, face: RGB) -> None:
    s = sheet.head_scale
    sheet.add(limb([(0.40, min(y + 0.1, 0.70)), (x, y)], [0.28, 0.18]), sheet.rgb, 0.5, rough=1.4)
    sheet.add(_at(ellipse(-0.10, 0.0, 0.11, 0.045, turn=150), x, y, s, turn + 30), tint(face, -0.15), 0.3)
    sheet.add(
        _at(
            blob((-0.10, 0.08), (0.06, 0.10), (0.22, 0.06), (0.25, -0.02), (0.18, -0.08), (0.0, -0.11), (-0.1, -0.07)),
            x,
            y,
            s,
            turn,
        ),
        face,
        0.5,
    )
    sheet.add(_at(_wool(sheet, -0.06, 0.07, 0.11, 0.08, 7), x, y, s, turn), sheet.rgb, 0.6, rough=1.4)
    eye_x, eye_y = _at(np.array([[0.06, 0.03]]), x, y, s, turn)[0].tolist()
    eye(sheet, eye_x, eye_y, 0.02 * s, white=sum(face) < 1)
