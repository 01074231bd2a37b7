"""How car, bus, truck, bicycle, boat and airplane are drawn: seen from the side, driving to the right."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from segue.synthetic.scenes.shapes.strokes import (  # fmt: skip
    PALETTE,
    RGB,
    XY,
    Sheet,
    blob,
    ellipse,
    limb,
    mix,
    poly,
    rect,
    ring,
    rounded,
    tint,
)

GLASS: RGB = (0.62, 0.78, 0.86)
TYRE: RGB = (0.10, 0.10, 0.11)
LAMP: RGB = (1.0, 0.93, 0.66)
STEEL: RGB = (0.72, 0.73, 0.75)


def _wheel(sheet: Sheet, x: float, r: float) -> None:
    sheet.add(ellipse(x, r, r, r), TYRE, 0.3)
    sheet.add(ellipse(x, r, r * 0.6, r * 0.6), STEEL, 0.6, 0.2)
    sheet.add(ellipse(x, r, r * 0.22, r * 0.22), tint(STEEL, -0.5), 0.2)


def _glass(sheet: Sheet, *corners: XY) -> None:
    lamp = sheet.chance(0.25)
    sheet.add(poly(*corners), tint(GLASS, -0.35), 0.0, 0.0, 0.0, lamp)
    pane = np.array(corners)
    middle = pane.mean(0)
    sheet.add(pane * 0.86 + middle * 0.14, GLASS, 0.35, 0.35, 0.0, lamp)


def car(sheet: Sheet, kind: str, pose: str) -> None:
    """A saloon, a hatchback, a van or a beetle: the roof's line tells."""
    rgb, dark = sheet.rgb, tint(sheet.rgb, -0.35)
    roof, back, front, low, high = [
        (
            0.84,
            -0.52,
            0.34,
            -0.34,
            0.14,
        ),  # saloon: height, foot of the rear window, of the windscreen, ends of the roof
        (0.86, -0.84, 0.36, -0.68, 0.14),  # hatchback
        (0.98, -0.92, 0.56, -0.84, 0.30),  # van
        (0.92, -0.74, 0.46, -0.30, 0.10),  # beetle
    ][int(sheet.rng.integers(4))]
    roof *= sheet.vary(0.95, 1.05)
    belt = 0.52
    body = blob(
        (-0.98, 0.20),
        (-0.99, 0.42),
        (-0.90, 0.54),
        (-0.4, 0.56),
        (0.4, 0.56),
        (0.84, 0.47),
        (0.98, 0.38),
        (0.98, 0.22),
        (0.8, 0.15),
        (-0.8, 0.15),
    )
    cabin = blob(
        (back - 0.05, belt - 0.04),
        ((back + low) / 2 - 0.01, (belt + roof) / 2 + 0.05),
        (low, roof - 0.02),
        ((low + high) / 2, roof),
        (high, roof - 0.02),
        ((front + high) / 2 + 0.02, (belt + roof) / 2 + 0.02),
        (front + 0.06, belt - 0.04),
        (0, belt - 0.1),
    )
    sheet.add(cabin, rgb, 0.4, 0.2, 0.1)
    sheet.add(body, rgb, 0.6, 0.25, 0.1)
    post, top, lower = (low + high) / 2, roof - 0.07, belt + 0.02
    _glass(sheet, (back + 0.10, lower), (low + 0.04, top), (post - 0.03, top), (post - 0.03, lower))
    _glass(sheet, (post + 0.03, lower), (post + 0.03, top), (high - 0.02, top), (front - 0.04, lower))
    for x in (-0.60, 0.60):
        sheet.add(ellipse(x, 0.185, 0.235, 0.235), dark, 0.1)
    sheet.add(rect(-0.34, 0.13, 0.34, 0.19), tint(dark, -0.3), 0)
    for x in (-0.60, 0.60):
        _wheel(sheet, x, 0.185)
    sheet.add(limb([(post, lower - 0.02), (post, 0.22)], [0.012, 0.012]), dark, 0)
    sheet.add(limb([(post - 0.2, 0.45), (post - 0.1, 0.45)], [0.03, 0.03]), tint(dark, -0.2), 0)
    sheet.add(ellipse(0.91, 0.38, 0.055, 0.06), LAMP, 0.2, 0.3, 0, lamp=True)
    sheet.add(ellipse(-0.95, 0.42, 0.035, 0.06), (0.75, 0.08, 0.08), 0.2, 0, 0, lamp=True)
    sheet.anchors["back"] = (0.0, roof)


def bus(sheet: Sheet, kind: str, pose: str) -> None:
    """A long box with a row of windows, a door, a stripe; sometimes two decks."""
    rgb, double = sheet.rgb, sheet.chance(0.25)
    top = 1.32 if double else 0.92
    count = int(sheet.rng.integers(4, 7))
    stripe = (0.93, 0.93, 0.9) if sum(rgb) < 2.3 else tint(rgb, -0.45)
    sheet.add(rounded(-1.25, 0.14, 1.25, top, 0.09), rgb, 0.45, 0.12, 0.1)
    sheet.add(rect(-1.25, 0.36, 1.25, 0.42), stripe, 0.2)
    for level in (0.50, 0.92) if double else (0.50,):
        high = level + 0.30
        edges = np.linspace(-1.18, 0.80 if level < 0.6 else 1.18, count + 1)
        for a, b in pairwise(edges.tolist()):
            _glass(sheet, (a + 0.025, level), (a + 0.025, high), (b - 0.025, high), (b - 0.025, level))
    _glass(sheet, (0.86, 0.20), (0.86, 0.80), (1.04, 0.80), (1.04, 0.20))
    sheet.add(limb([(0.95, 0.22), (0.95, 0.78)], [0.015, 0.015]), tint(GLASS, -0.6), 0)
    _glass(sheet, (1.09, 0.46), (1.09, 0.80), (1.235, 0.80), (1.245, 0.46))
    sheet.add(rect(-1.25, 0.13, 1.25, 0.18), tint(rgb, -0.5), 0)
    for x in (-0.78, 0.66):
        sheet.add(ellipse(x, 0.19, 0.22, 0.22), tint(rgb, -0.5), 0)
        _wheel(sheet, x, 0.17)
    sheet.add(ellipse(1.22, 0.29, 0.035, 0.05), LAMP, 0.2, 0.3, 0, lamp=True)
    sheet.add(rect(-1.25, 0.24, -1.215, 0.34), (0.75, 0.08, 0.08), 0, 0, 0, lamp=True)
    sheet.anchors["back"] = (0.0, top)


def truck(sheet: Sheet, kind: str, pose: str) -> None:
    """A cab in front, behind it a box, a tipper or a tank."""
    rgb = sheet.rgb
    load = int(sheet.rng.integers(3))
    sheet.add(rect(-1.12, 0.20, 0.98, 0.29), (0.2, 0.2, 0.22), 0)
    cargo = rgb if sheet.chance(0.65) else sheet.pick((0.93, 0.93, 0.9), (0.80, 0.80, 0.78), tint(rgb, -0.25))
    if load == 0:
        sheet.add(rounded(-1.15, 0.29, 0.38, 1.12, 0.03), cargo, 0.35)
        for x in np.arange(-1.0, 0.35, 0.19):
            sheet.add(limb([(x, 0.33), (x, 1.08)], [0.014, 0.014]), tint(cargo, -0.2), 0)
    elif load == 1:
        for k in range(5):
            sheet.add(
                ellipse(-0.95 + 0.26 * k, 0.66 + 0.07 * np.sin(2.0 * k), 0.2, 0.17), (0.52, 0.40, 0.28), 0.5, rough=2
            )
        sheet.add(poly((-1.22, 0.78), (0.38, 0.78), (0.30, 0.29), (-1.05, 0.29)), cargo, 0.35)
        for x in np.arange(-0.85, 0.3, 0.28):
            sheet.add(limb([(x, 0.33), (x, 0.75)], [0.03, 0.03]), tint(cargo, -0.22), 0)
    else:
        sheet.add(rounded(-1.15, 0.30, 0.36, 0.92, 0.24), cargo, 0.9, 0.2)
        for x in (-0.75, -0.38, 0.0):
            sheet.add(limb([(x, 0.31), (x, 0.91)], [0.02, 0.02]), tint(cargo, -0.25), 0.3)
    cab = poly(
        (0.44, 0.22), (0.44, 0.95), (0.50, 1.0), (0.84, 1.0), (0.95, 0.64), (1.12, 0.58), (1.16, 0.50), (1.16, 0.22)
    )
    sheet.add(cab, rgb, 0.5, 0.15, 0.1)
    _glass(sheet, (0.54, 0.62), (0.54, 0.91), (0.80, 0.91), (0.89, 0.62))
    sheet.add(limb([(0.52, 0.56), (0.52, 0.3)], [0.013, 0.013]), tint(rgb, -0.4), 0)
    sheet.add(limb([(0.58, 0.53), (0.68, 0.53)], [0.03, 0.03]), tint(rgb, -0.5), 0)
    sheet.add(rect(1.02, 0.16, 1.19, 0.26), tint(STEEL, -0.2), 0.3)
    sheet.add(ellipse(1.12, 0.42, 0.04, 0.055), LAMP, 0.2, 0.3, 0, lamp=True)
    for x in (-0.86, -0.46, 0.80):
        sheet.add(ellipse(x, 0.2, 0.225, 0.225), tint(rgb, -0.45) if x > 0 else (0.13, 0.13, 0.14), 0)
        _wheel(sheet, x, 0.185)
    sheet.anchors["back"] = (0.67, 1.0)


def bicycle(sheet: Sheet, kind: str, pose: str) -> None:
    """Two wheels with spokes, a frame of tubes, a saddle, handlebars. Mark: back, the saddle."""
    r, rgb, w = 0.34, sheet.rgb, 0.062
    rear, front = (-0.52, r), (0.55, r)
    step = sheet.chance(0.4)
    crank = (-0.06, 0.30)
    for x, y in (rear, front):
        for a in np.arange(0, 180, 45) + 20:
            c, s = 0.9 * r * float(np.cos(np.deg2rad(a))), 0.9 * r * float(np.sin(np.deg2rad(a)))
            sheet.add(limb([(x - c, y - s), (x + c, y + s)], [0.012, 0.012]), tint(STEEL, -0.1), 0)
        sheet.add(ring(x, y, r, 0.065), TYRE, 0.1)
    sheet.add(limb([rear, crank], [0.04, 0.04]), tint(rgb, -0.2), 0.2)
    sheet.add(ring(*crank, 0.105, 0.04), tint(STEEL, -0.55), 0.1)
    low = (0.42, 0.58) if step else (0.40, 0.74)
    join = (-0.18, 0.56) if step else (-0.23, 0.70)
    tubes = ((rear, (-0.22, 0.68)), (crank, (-0.26, 0.84)), (crank, (0.44, 0.66)), (join, low), (front, (0.36, 0.92)))
    for ends in tubes:
        sheet.add(limb(ends, [w, w]), rgb, 0.3, 0.1)
    sheet.add(limb([(0.36, 0.92), (0.40, 0.99), (0.56, 0.97)], [0.05, 0.05, 0.05]), (0.16, 0.15, 0.15), 0.2)
    sheet.add(blob((-0.42, 0.86), (-0.36, 0.92), (-0.18, 0.90), (-0.10, 0.87), (-0.24, 0.83)), (0.16, 0.12, 0.10), 0.3)
    sheet.add(limb([crank, (0.0, 0.16)], [0.035, 0.035]), tint(STEEL, -0.5), 0)
    sheet.add(limb([(-0.05, 0.15), (0.08, 0.15)], [0.035, 0.035]), TYRE, 0)
    if sheet.chance(0.35):
        sheet.add(poly((0.46, 0.98), (0.80, 0.98), (0.74, 0.76), (0.52, 0.76)), (0.70, 0.52, 0.32), 0.3, rough=2)
    sheet.anchors["back"] = (-0.24, 0.90)


def boat(sheet: Sheet, kind: str, pose: str) -> None:
    """A sailing boat, a motor boat or a fishing boat; the hull has the colour. Mark: back, the deck."""
    rgb, shape = sheet.rgb, int(sheet.rng.choice(3, p=[0.55, 0.2, 0.25]))
    rail = (0.95, 0.94, 0.9) if sum(rgb) < 2.3 else PALETTE["blue"]
    sheet.anchors["back"] = (-0.2, 0.34)
    if shape == 0:
        _sails(sheet, rgb)
    elif shape == 1:
        sheet.add(poly((-0.45, 0.3), (-0.40, 0.62), (0.12, 0.62), (0.32, 0.3)), (0.94, 0.94, 0.92), 0.4)
        _glass(sheet, (-0.08, 0.38), (-0.08, 0.57), (0.08, 0.57), (0.20, 0.38))
        _glass(sheet, (-0.36, 0.38), (-0.34, 0.57), (-0.14, 0.57), (-0.14, 0.38))
    else:
        sheet.add(limb([(-0.45, 0.3), (-0.45, 1.15)], [0.04, 0.03]), (0.45, 0.33, 0.22), 0.2)
        sheet.add(limb([(-0.45, 1.1), (-0.85, 0.55)], [0.02, 0.02]), (0.35, 0.27, 0.2), 0)
        sheet.add(rect(0.0, 0.3, 0.42, 0.74), (0.93, 0.92, 0.88), 0.4)
        sheet.add(poly((-0.06, 0.74), (0.48, 0.74), (0.44, 0.82), (-0.02, 0.82)), tint(rgb, -0.1), 0.3)
        _glass(sheet, (0.10, 0.48), (0.10, 0.66), (0.32, 0.66), (0.32, 0.48))
    sheet.add(
        blob(
            (-0.92, 0.36),
            (-0.5, 0.33),
            (0.4, 0.33),
            (0.82, 0.40),
            (1.06, 0.46),
            (0.86, 0.14),
            (0.68, 0.02),
            (0, 0.0),
            (-0.66, 0.01),
            (-0.86, 0.12),
        ),
        rgb,
        0.5,
        0.12,
    )
    sheet.add(
        blob(
            (-0.93, 0.37),
            (-0.5, 0.34),
            (0.4, 0.34),
            (0.82, 0.41),
            (1.06, 0.47),
            (0.82, 0.34),
            (0.4, 0.27),
            (-0.5, 0.27),
            (-0.91, 0.29),
        ),
        rail,
        0.2,
    )


def _sails(sheet: Sheet, rgb: RGB) -> None:
    cloth = sheet.pick((0.97, 0.96, 0.92), (0.97, 0.96, 0.92), mix(rgb, (1, 1, 1), 0.45))
    tall = sheet.vary(1.55, 1.95)
    sheet.add(limb([(0.02, 0.3), (0.02, tall)], [0.05, 0.035]), (0.45, 0.32, 0.2), 0.2)
    sheet.add(
        blob(
            (-0.04, tall - 0.06),
            (-0.30, tall * 0.58),
            (-0.78, 0.56),
            (-0.75, 0.50),
            (-0.3, 0.47),
            (-0.03, 0.50),
            (-0.03, tall * 0.6),
        ),
        cloth,
        0.5,
    )
    sheet.add(
        blob(
            (0.07, tall - 0.16),
            (0.40, tall * 0.55),
            (0.86, 0.52),
            (0.84, 0.48),
            (0.4, 0.50),
            (0.12, 0.55),
            (0.08, tall * 0.6),
        ),
        tint(cloth, -0.06),
        0.5,
    )
    if sheet.chance(0.5):
        sheet.add(
            poly((0.04, tall), (0.26, tall - 0.06), (0.04, tall - 0.12)),
            PALETTE["red"] if rgb[0] < 0.7 else PALETTE["blue"],
            0,
        )


def airplane(sheet: Sheet, kind: str, pose: str) -> None:
    """An airliner or a small propeller plane, from the side with its nose a little up."""
    rgb, small = sheet.rgb, sheet.chance(0.3)
    trim = (
        sheet.pick(PALETTE["blue"], PALETTE["red"], PALETTE["orange"])
        if sum(rgb) > 2.3 or sum(rgb) < 0.6
        else (0.95, 0.95, 0.94)
    )
    deep = 0.17 if small else 0.145
    sheet.add(poly((-0.15, 0.05), (0.12, 0.05), (-0.18, 0.40), (-0.34, 0.40)), tint(rgb, -0.28), 0.3)
    sheet.add(poly((-0.82, 0.05), (-1.04, 0.50), (-0.86, 0.50), (-0.50, 0.10)), trim, 0.3)
    hull = blob(
        (-1.08, 0.12),
        (-0.6, deep),
        (0.0, deep + 0.01),
        (0.6, deep),
        (0.88, 0.08),
        (1.0, -0.02),
        (0.86, -0.10),
        (0.5, -deep),
        (-0.2, -deep),
        (-0.7, -0.06),
    )
    sheet.add(hull, rgb, 0.7, 0.15, 0.1)
    sheet.add(poly((-0.76, 0.06), (-1.14, 0.13), (-1.20, 0.18), (-0.98, 0.18), (-0.55, 0.08)), tint(rgb, -0.15), 0.2)
    sheet.add(limb([(-0.98, 0.03), (-0.1, -0.05), (0.9, -0.05)], [0.02, 0.05, 0.03]), trim, 0.1)
    if small:
        _glass(sheet, (0.10, 0.05), (0.14, deep + 0.04), (0.46, deep + 0.03), (0.60, 0.05))
        sheet.add(limb([(1.02, 0.28), (1.02, -0.32)], [0.035, 0.035]), (0.3, 0.3, 0.3), 0.2)
        for x in (0.35, 0.62):
            sheet.add(limb([(x - 0.05, -0.1), (x, -0.27)], [0.03, 0.03]), tint(rgb, -0.4), 0)
            sheet.add(ellipse(x, -0.30, 0.065, 0.065), TYRE, 0.2)
    else:
        for x in np.arange(-0.62, 0.66, 0.115):
            sheet.add(rounded(x, 0.025, x + 0.06, 0.085, 0.02), tint(GLASS, -0.5), 0, lamp=True)
        _glass(sheet, (0.76, 0.045), (0.74, 0.105), (0.86, 0.085), (0.92, 0.045))
        sheet.add(rounded(-0.06, -0.30, 0.26, -0.17, 0.06), tint(rgb, -0.22), 0.6, 0.15)
        sheet.add(ellipse(0.25, -0.235, 0.025, 0.06), (0.15, 0.15, 0.17), 0)
    sheet.add(poly((0.26, -0.04), (-0.06, -0.06), (-0.62, -0.40), (-0.44, -0.41)), tint(rgb, -0.1), 0.4)
    sheet.rotate(7)
