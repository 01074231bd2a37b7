"""How tree, house, bench, ball, kite, umbrella, flower and balloon are drawn."""

from __future__ import annotations

import numpy as np

from segue.synthetic.scenes.shapes.strokes import (  # fmt: skip
    PALETTE,
    RGB,
    Sheet,
    blob,
    curve,
    ellipse,
    limb,
    mix,
    poly,
    rect,
    rotated,
    rounded,
    tint,
)

BARK: tuple[RGB, ...] = ((0.36, 0.24, 0.15), (0.42, 0.31, 0.22), (0.30, 0.22, 0.17))
STRING: RGB = (0.35, 0.33, 0.32)


def tree(sheet: Sheet, kind: str, pose: str) -> None:
    """Round, a fir, a poplar or (green only) a palm."""
    shapes = [_round_tree, _round_tree, _poplar]
    if sheet.colour == "green":
        shapes += [_fir, _fir, _palm]
    shapes[int(sheet.rng.integers(len(shapes)))](sheet, sheet.pick(*BARK))


def _trunk(sheet: Sheet, bark: RGB, top: float, w: float) -> None:
    lean = sheet.vary(-0.04, 0.04)
    sheet.add(poly((-w * 0.85, 0), (w * 0.85, 0), (w * 0.5 + lean, top), (-w * 0.5 + lean, top)), bark, 0.7, rough=1.6)


def _leaves(sheet: Sheet, y: float, rx: float, ry: float, clumps: int) -> None:
    """Clumps of leaves, dark ones behind and below, light ones above."""
    t = np.linspace(0, 2 * np.pi, 9, endpoint=False) + sheet.vary(0, 0.7)
    for a in t:
        sheet.add(
            _clump(sheet, 0.72 * rx * float(np.cos(a)), y + 0.70 * ry * float(np.sin(a)), 0.40 * rx, 0.40 * ry),
            tint(sheet.rgb, -0.16),
            0.5,
            rough=2.2,
        )
    sheet.add(_clump(sheet, 0, y, 0.85 * rx, 0.82 * ry), tint(sheet.rgb, -0.10), 0.3, rough=2.2)
    spots = sheet.rng.uniform(-1, 1, (clumps, 2))
    for dx, dy in sorted(spots.tolist(), key=lambda s: s[1]):
        light = 0.10 * dy + sheet.vary(-0.03, 0.05)
        sheet.add(
            _clump(sheet, 0.58 * rx * dx, y + 0.12 * ry + 0.52 * ry * dy, 0.30 * rx, 0.24 * ry),
            tint(sheet.rgb, light),
            0.6,
            rough=2.2,
        )


def _clump(sheet: Sheet, x: float, y: float, rx: float, ry: float) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    k = 1 + 0.07 * np.sin(7 * t + sheet.vary(0, 6)) + 0.05 * np.sin(12 * t + sheet.vary(0, 6))
    return np.stack([x + rx * k * np.cos(t), y + ry * k * np.sin(t)], 1)


def _round_tree(sheet: Sheet, bark: RGB) -> None:
    wide, tall, foot = sheet.vary(0.34, 0.46), sheet.vary(0.32, 0.40), sheet.vary(0.30, 0.42)
    _trunk(sheet, bark, foot + tall * 0.6, 0.065)
    for side in (-1, 1):
        sheet.add(limb([(0, foot * 0.75), (side * wide * 0.5, foot + tall * 0.35)], [0.05, 0.03]), bark, 0.4, rough=1.5)
    _leaves(sheet, foot + tall * 0.9, wide, tall, 11)
    if sheet.colour == "green" and sheet.chance(0.2):
        for dx, dy in sheet.rng.uniform(-0.6, 0.6, (8, 2)).tolist():
            sheet.add(ellipse(wide * dx, foot + tall * (0.9 + dy), 0.028, 0.028), PALETTE["red"], 0.5)


def _poplar(sheet: Sheet, bark: RGB) -> None:
    wide = sheet.vary(0.17, 0.25)
    _trunk(sheet, bark, 0.4, 0.05)
    _leaves(sheet, 0.62, wide, 0.44, 13)


def _fir(sheet: Sheet, bark: RGB) -> None:
    tiers = int(sheet.rng.integers(3, 6))
    green = mix(sheet.rgb, (0.05, 0.28, 0.20), 0.4)
    _trunk(sheet, bark, 0.3, 0.05)
    for k in range(tiers):
        low, wide = 0.14 + 0.72 * k / tiers, 0.31 * (1 - 0.78 * k / tiers)
        high = low + 0.95 / tiers
        teeth = [
            (x, low + (0.045 if i % 2 else 0.0) + 0.05 * abs(x) / wide)
            for i, x in enumerate(np.linspace(wide, -wide, 11).tolist())
        ]
        sheet.add(poly(*teeth, (-0.02, high), (0.02, high)), tint(green, 0.04 * k - 0.1), 0.55, rough=2.2)


def _palm(sheet: Sheet, bark: RGB) -> None:
    lean = sheet.vary(0.1, 0.25) * (1 if sheet.chance(0.5) else -1)
    top = (lean, 0.74)
    sheet.add(limb([(0, 0), (lean * 0.25, 0.4), top], [0.09, 0.065, 0.055]), tint(bark, 0.15), 0.7, rough=1.5)
    for k in range(6):
        y = 0.08 + 0.1 * k
        sheet.add(
            limb([(lean * y * y * 1.7 - 0.035, y), (lean * y * y * 1.7 + 0.035, y)], [0.012, 0.012]),
            tint(bark, -0.2),
            0,
        )
    for i, a in enumerate((200, -20, 165, 15, 135, 45, 95)):
        c, s, r = float(np.cos(np.deg2rad(a))), float(np.sin(np.deg2rad(a))), sheet.vary(0.30, 0.38)
        tip = (top[0] + r * c, top[1] + r * 0.55 * s - 0.10)
        sheet.add(
            limb([top, (top[0] + 0.55 * r * c, top[1] + 0.62 * r * s + 0.06), tip], [0.05, 0.11, 0.012]),
            tint(sheet.rgb, -0.15 + 0.05 * i),
            0.5,
            rough=1.5,
        )
    for dx in (-0.03, 0.04):
        sheet.add(ellipse(top[0] + dx, top[1] - 0.03, 0.04, 0.04), (0.4, 0.26, 0.14), 0.6)


# ------------------------------------------------------------------------------------------------ house, bench


def house(sheet: Sheet, kind: str, pose: str) -> None:
    """A wall in the colour, a gable or a long roof, a door, one or two rows of windows, a chimney."""
    rgb, floors = sheet.rgb, 2 if sheet.chance(0.45) else 1
    wide, high, gable = sheet.vary(0.48, 0.62), 0.42 + 0.34 * (floors - 1), sheet.chance(0.5)
    roof = sheet.pick((0.56, 0.22, 0.16), (0.33, 0.30, 0.32), (0.42, 0.27, 0.19), (0.25, 0.32, 0.42))
    roof = (0.33, 0.30, 0.32) if sheet.colour in ("red", "brown", "orange") else roof
    peak = high + sheet.vary(0.30, 0.40)
    cx = sheet.vary(0.15, 0.35) * (1 if sheet.chance(0.5) else -1) * wide
    sheet.add(rect(cx - 0.055, high, cx + 0.055, peak + 0.05), (0.50, 0.28, 0.22), 0.4, rough=1.5)
    sheet.add(rect(cx - 0.07, peak + 0.03, cx + 0.07, peak + 0.07), (0.42, 0.24, 0.19), 0.2)
    sheet.add(rect(-wide, 0, wide, high), rgb, 0.2, rough=0.8)
    if gable:
        sheet.add(poly((-wide, high - 0.01), (wide, high - 0.01), (0, peak - 0.04)), rgb, 0.0, rough=0.8)
        for side in (-1, 1):
            sheet.add(
                limb([(side * (wide + 0.08), high - 0.05), (0, peak)], [0.075, 0.075], smooth=False),
                tint(roof, -0.12 if side > 0 else 0),
                0.2,
            )
        sheet.add(ellipse(0, high + 0.10, 0.06, 0.06), tint((0.62, 0.78, 0.86), -0.2), 0.2, 0.2, 0, lamp=True)
    else:
        sheet.add(
            poly((-wide - 0.09, high - 0.03), (wide + 0.09, high - 0.03), (wide - 0.10, peak), (-wide + 0.10, peak)),
            roof,
            0.4,
            rough=1.5,
        )
        for k in range(1, 4):
            y = high + (peak - high) * k / 4
            inset = 0.19 * k / 4
            sheet.add(limb([(-wide - 0.08 + inset, y), (wide + 0.08 - inset, y)], [0.012, 0.012]), tint(roof, -0.2), 0)
    _openings(sheet, wide, floors)
    sheet.add(rect(-wide - 0.01, 0, wide + 0.01, 0.035), (0.50, 0.49, 0.47), 0.1, rough=1.5)
    sheet.anchors["back"] = (0.0, peak)


def _openings(sheet: Sheet, wide: float, floors: int) -> None:
    door = sheet.pick((0.40, 0.24, 0.14), (0.20, 0.34, 0.24), (0.24, 0.30, 0.48), (0.55, 0.16, 0.14))
    columns = 3 if floors == 1 or sheet.chance(0.7) else 4
    at = np.linspace(-wide, wide, columns + 1)
    middles, chosen = (at[:-1] + at[1:]) / 2, int(sheet.rng.integers(columns))
    frame = (0.97, 0.96, 0.93) if min(sheet.rgb) < 0.85 else (0.55, 0.50, 0.45)
    w = min(0.10, wide / columns * 0.6)
    for floor in range(floors):
        for i, x in enumerate(middles.tolist()):
            y = 0.16 + 0.34 * floor
            if floor == 0 and i == chosen:
                sheet.add(rect(x - 0.085, 0.0, x + 0.085, 0.33), frame, 0)
                sheet.add(rect(x - 0.065, 0.0, x + 0.065, 0.31), door, 0.3)
                sheet.add(ellipse(x + 0.04, 0.15, 0.014, 0.014), (0.9, 0.78, 0.35), 0)
                continue
            lamp = sheet.chance(0.55)
            sheet.add(rect(x - w, y - 0.015, x + w, y + 0.195), frame, 0)
            sheet.add(
                rect(x - w + 0.02, y + 0.005, x + w - 0.02, y + 0.175),
                tint((0.60, 0.76, 0.86), -0.22),
                0.5,
                0.2,
                0,
                lamp,
            )
            sheet.add(rect(x - 0.008, y, x + 0.008, y + 0.18), frame, 0)
            sheet.add(rect(x - w, y + 0.085, x + w, y + 0.10), frame, 0)


def bench(sheet: Sheet, kind: str, pose: str) -> None:
    """Slats of a back and a seat, seen a little from above. Mark: back, the middle of the seat."""
    rgb, iron = sheet.rgb, sheet.pick((0.16, 0.16, 0.17), tint(sheet.rgb, -0.45))
    slats = int(sheet.rng.integers(2, 5))
    for x in (-0.62, 0.62):
        sheet.add(limb([(x, 0.10), (x, 0.86)], [0.055, 0.05]), tint(iron, -0.1), 0.4)
    for k in range(slats):
        y0, step = 0.50, 0.36 / slats
        sheet.add(rounded(-0.74, y0 + k * step, 0.74, y0 + k * step + step * 0.76, 0.02), rgb, 0.4, rough=1.2)
    for k in range(2):
        y, grow = 0.42 - 0.085 * k, 0.04 * k
        sheet.add(
            poly((-0.76 - grow, y + 0.05), (0.76 + grow, y + 0.05), (0.79 + grow, y - 0.02), (-0.79 - grow, y - 0.02)),
            tint(rgb, 0.10),
            0.2,
            rough=1.2,
        )
    sheet.add(rect(-0.83, 0.27, 0.83, 0.315), tint(rgb, -0.18), 0.2)
    for x in (-0.68, 0.68):
        sheet.add(limb([(x, 0.29), (x * 1.03, 0.0)], [0.07, 0.06]), iron, 0.4)
        sheet.add(limb([(x, 0.30), (x * 1.08, 0.60), (x * 0.98, 0.62)], [0.04, 0.04, 0.04]), iron, 0.4)
    sheet.anchors["back"] = (0.0, 0.40)


# ------------------------------------------------------------------------------------------------ ball, kite, umbrella


def _second(sheet: Sheet) -> RGB:
    """A colour that goes with the thing's own without taking its name."""
    if sum(sheet.rgb) < 0.8:
        return tint(sheet.rgb, 0.3)
    return (0.95, 0.94, 0.92) if sum(sheet.rgb) < 2.3 else tint(sheet.rgb, -0.25)


def ball(sheet: Sheet, kind: str, pose: str) -> None:
    """Striped, with a star, a basketball's seams, or plain."""
    rgb, shape = sheet.rgb, int(sheet.rng.integers(4))
    sheet.add(ellipse(0, 0.5, 0.5, 0.5), rgb, 0.95, 0.35, 0.1)
    turn, line = sheet.vary(-40, 40), tint(rgb, -0.6) if sum(rgb) > 0.6 else (0.6, 0.6, 0.6)
    about = (0.0, 0.5)
    if shape == 0:
        band = np.concatenate(
            [curve([(-0.48, 0.62), (0, 0.53), (0.48, 0.62)]), curve([(0.49, 0.44), (0, 0.34), (-0.49, 0.44)])]
        )
        sheet.add(rotated(band, turn, about), _second(sheet), 0.5)
    elif shape == 1:
        for path in (
            [(-0.5, 0.5), (0, 0.56), (0.5, 0.5)],
            [(0, 1.0), (0.05, 0.5), (0, 0.0)],
            [(-0.33, 0.87), (-0.16, 0.5), (-0.33, 0.13)],
            [(0.33, 0.87), (0.19, 0.5), (0.33, 0.13)],
        ):
            sheet.add(rotated(limb(path, [0.025, 0.025]), turn, about), line, 0)
    elif shape == 2:
        a = np.deg2rad(np.arange(10) * 36 + turn)
        r = np.where(np.arange(10) % 2, 0.11, 0.26)
        sheet.add(np.stack([r * np.cos(a), 0.5 + r * np.sin(a)], 1), _second(sheet), 0.2)
    sheet.anchors["grip"] = (0.0, 0.4)


def kite(sheet: Sheet, kind: str, pose: str) -> None:
    """A diamond with crossed sticks and a tail with bows. Mark: grip, where its string is tied."""
    rgb, other = sheet.rgb, _second(sheet) if sheet.chance(0.5) else tint(sheet.rgb, 0.25)
    wide, cross, tail = sheet.vary(0.34, 0.44), sheet.vary(0.12, 0.22), sheet.vary(0.5, 0.8)
    sway = [(0.0, -0.5), (0.10, -0.5 - tail * 0.35), (-0.06, -0.5 - tail * 0.7), (0.06, -0.5 - tail)]
    sheet.add(limb(sway, [0.028, 0.025]), STRING, 0)
    bow = sheet.pick(PALETTE["red"], PALETTE["yellow"], PALETTE["blue"], rgb)
    for x, y in curve(sway)[4::4].tolist():
        sheet.add(
            poly((x - 0.09, y + 0.045), (x + 0.09, y - 0.045), (x + 0.09, y + 0.045), (x - 0.09, y - 0.045)), bow, 0.1
        )
    top, left, right, low, mid = (0.0, 0.5), (-wide, cross), (wide, cross), (0.0, -0.5), (0.0, cross)
    for corners, colour in (
        ((top, left, mid), tint(rgb, 0.06)),
        ((top, mid, right), other),
        ((left, low, mid), tint(rgb, -0.06)),
        ((mid, low, right), tint(rgb, -0.13)),
    ):
        sheet.add(poly(*corners), colour, 0.15)
    for a, b in ((top, low), (left, right)):
        sheet.add(limb([a, b], [0.022, 0.022]), tint(rgb, -0.55), 0)
    sheet.anchors["grip"] = mid


def umbrella(sheet: Sheet, kind: str, pose: str) -> None:
    """Open or closed, with a hooked handle. Mark: grip, on the shaft."""
    rgb, dark = sheet.rgb, (0.25, 0.18, 0.13)
    hook = [(0.0, 0.16), (0.0, 0.05), (0.06, 0.0), (0.12, 0.05)]
    if pose == "closed":
        sheet.add(limb([(0, 0.1), (0, 1.08)], [0.03, 0.03]), STRING, 0.2)
        sheet.add(
            poly((-0.012, 0.98), (0.012, 0.98), (0.10, 0.36), (0.06, 0.31), (0.0, 0.35), (-0.06, 0.31), (-0.10, 0.36)),
            rgb,
            0.6,
        )
        for x in (-0.035, 0.035):
            sheet.add(limb([(x * 0.2, 0.95), (x, 0.36)], [0.008, 0.016]), tint(rgb, -0.3), 0)
        sheet.add(rect(-0.085, 0.52, 0.085, 0.555), tint(rgb, -0.35), 0.3)
        sheet.add(limb(hook, [0.05, 0.05]), dark, 0.4)
        sheet.anchors["grip"] = (0.0, 0.2)
        return
    sheet.add(limb([(0, 0.1), (0, 1.05)], [0.03, 0.03]), STRING, 0.2)
    sheet.add(limb(hook, [0.05, 0.05]), dark, 0.4)
    edges = np.linspace(-0.62, 0.62, 6)
    drop = 0.60 - 0.05 * np.cos(edges * 2.2)
    other = tint(rgb, -0.16) if sheet.chance(0.7) else mix(rgb, _second(sheet), 0.8)
    for i in range(5):
        a, b = float(edges[i]), float(edges[i + 1])
        ya, yb = float(drop[i]), float(drop[i + 1])
        rim = curve([(b, yb), ((a + b) / 2, (ya + yb) / 2 + 0.055), (a, ya)])
        rise = curve([(a, ya), (a * 0.78, 0.82 - 0.1 * abs(a)), (0.0, 1.02)])
        fall = curve([(0.0, 1.02), (b * 0.78, 0.82 - 0.1 * abs(b)), (b, yb)])
        sheet.add(np.concatenate([rim, rise, fall]), rgb if i % 2 == 0 else other, 0.35)
    sheet.anchors["grip"] = (0.0, 0.18)


def flower(sheet: Sheet, kind: str, pose: str) -> None:
    """A daisy, a tulip or a rose on its stem. Mark: grip, on the stem."""
    stem, shape = sheet.pick((0.20, 0.50, 0.20), (0.28, 0.58, 0.22)), int(sheet.rng.integers(3))
    bend = sheet.vary(-0.08, 0.08)
    top = (0.0, 0.74)
    sheet.add(limb([(bend, 0), (bend * 0.2, 0.35), top], [0.06, 0.05, 0.045]), stem, 0.4)
    for side, y in ((-1, 0.16), (1, 0.24)):
        sheet.add(
            blob((bend * 0.5, y), (side * 0.14, y + 0.06), (side * 0.29, y + 0.2), (side * 0.12, y + 0.17)),
            tint(stem, 0.05 * side),
            0.4,
        )
    (_daisy, _tulip, _rose)[shape](sheet, *top)
    sheet.anchors["grip"] = (bend * 0.5, 0.25)


def _daisy(sheet: Sheet, x: float, y: float) -> None:
    count = int(sheet.rng.integers(6, 11))
    for k in range(count):
        a = np.deg2rad(360 * k / count + 10)
        petal = ellipse(
            x + 0.165 * float(np.cos(a)), y + 0.165 * float(np.sin(a)), 0.135, 0.72 / count, turn=360 * k / count + 10
        )
        sheet.add(petal, tint(sheet.rgb, 0.05 * (k % 2)), 0.4)
    heart = (
        (0.38, 0.24, 0.12)
        if sheet.colour in ("yellow", "orange", "white") and sheet.chance(0.5)
        else (0.96, 0.76, 0.15)
    )
    heart = (0.38, 0.24, 0.12) if sheet.colour in ("yellow", "orange") else heart
    sheet.add(ellipse(x, y, 0.095, 0.095), heart, 0.7, rough=2)


def _tulip(sheet: Sheet, x: float, y: float) -> None:
    for side in (-1, 1):
        sheet.add(
            blob((x, y - 0.06), (x + side * 0.20, y + 0.04), (x + side * 0.22, y + 0.30), (x + side * 0.06, y + 0.14)),
            tint(sheet.rgb, -0.1),
            0.5,
        )
    sheet.add(
        blob(
            (x, y - 0.07),
            (x + 0.14, y + 0.04),
            (x + 0.10, y + 0.2),
            (x, y + 0.33),
            (x - 0.10, y + 0.2),
            (x - 0.14, y + 0.04),
        ),
        sheet.rgb,
        0.6,
    )


def _rose(sheet: Sheet, x: float, y: float) -> None:
    for k in range(5):
        a = np.deg2rad(72 * k + 18)
        sheet.add(
            ellipse(x + 0.12 * float(np.cos(a)), y + 0.06 + 0.11 * float(np.sin(a)), 0.13, 0.12),
            tint(sheet.rgb, -0.08),
            0.6,
        )
    for r, light in ((0.15, 0.03), (0.10, -0.14), (0.065, 0.08), (0.03, -0.2)):
        sheet.add(ellipse(x + 0.01, y + 0.06 + (0.15 - r) * 0.2, r, r * 0.95), tint(sheet.rgb, light), 0.6)


def balloon(sheet: Sheet, kind: str, pose: str) -> None:
    """Drop-shaped, shining, with its string. Mark: grip, the string's end."""
    wide = sheet.vary(0.36, 0.42)
    wave = sheet.vary(0.03, 0.07)
    sheet.add(limb([(0, 0.42), (wave, 0.28), (-wave, 0.14), (0.0, 0.0)], [0.022, 0.022]), STRING, 0)
    sheet.add(poly((-0.05, 0.38), (0.05, 0.38), (0.0, 0.46)), tint(sheet.rgb, -0.25), 0.2)
    skin = blob(
        (0, 0.43),
        (wide * 0.62, 0.62),
        (wide, 0.92),
        (wide * 0.72, 1.22),
        (0, 1.36),
        (-wide * 0.72, 1.22),
        (-wide, 0.92),
        (-wide * 0.62, 0.62),
    )
    sheet.add(skin, sheet.rgb, 0.8, 0.5, 0.0)
    sheet.anchors["grip"] = (0.0, 0.0)
