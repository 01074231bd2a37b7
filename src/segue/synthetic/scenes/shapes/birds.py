"""How bird and duck are drawn."""

from __future__ import annotations

from segue.synthetic.scenes.shapes.animals import eye
from segue.synthetic.scenes.shapes.strokes import RGB, Sheet, blob, ellipse, limb, mix, poly, tint

BEAK: RGB = (0.93, 0.58, 0.12)


def bird(sheet: Sheet, kind: str, pose: str) -> None:
    """Flying with both wings up, or perching; a breast of another colour."""
    rgb = sheet.rgb
    breast = mix(rgb, (0.98, 0.94, 0.85), sheet.vary(0.45, 0.8)) if sheet.chance(0.7) else rgb
    if pose == "flying":
        _flying_bird(sheet, rgb, breast)
    else:
        _perching_bird(sheet, rgb, breast)


def _flying_bird(sheet: Sheet, rgb: RGB, breast: RGB) -> None:
    far, up = tint(rgb, -0.25), sheet.vary(0.75, 1.05)
    sheet.add(blob((0.16, 0.05), (0.36, 0.34 * up), (0.30, 0.62 * up), (0.12, 0.44 * up), (-0.06, 0.06)), far, 0.4)
    sheet.add(poly((-0.26, 0.03), (-0.62, 0.10), (-0.56, 0.0), (-0.62, -0.08), (-0.24, -0.05)), tint(rgb, -0.12), 0.3)
    sheet.add(
        blob((-0.32, 0.02), (0.0, 0.09), (0.28, 0.12), (0.40, 0.06), (0.30, -0.07), (0.02, -0.13), (-0.2, -0.07)),
        rgb,
        0.6,
    )
    sheet.add(blob((0.34, -0.0), (0.28, -0.07), (0.04, -0.12), (-0.12, -0.08), (0.1, -0.04)), breast, 0.3)
    sheet.add(ellipse(0.38, 0.10, 0.12 * sheet.head_scale, 0.105 * sheet.head_scale), rgb, 0.5)
    sheet.add(poly((0.47, 0.14), (0.62, 0.08), (0.47, 0.06)), BEAK, 0.2)
    eye(sheet, 0.42, 0.125, 0.022, white=sum(rgb) < 0.8)
    wing = [
        (0.16, 0.06),
        (0.02, 0.40 * up),
        (-0.22, 0.72 * up),
        (-0.36, 0.78 * up),
        (-0.36, 0.50 * up),
        (-0.26, 0.22),
        (-0.14, 0.0),
    ]
    sheet.add(blob(*wing), tint(rgb, -0.06), 0.5)
    for k in range(3):
        sheet.add(
            limb(
                [(-0.30 + 0.07 * k, (0.60 - 0.14 * k) * up), (-0.14 + 0.05 * k, (0.30 - 0.06 * k) * up)], [0.02, 0.015]
            ),
            tint(rgb, -0.4),
            0,
        )


def _perching_bird(sheet: Sheet, rgb: RGB, breast: RGB) -> None:
    for x in (-0.02, 0.08):
        sheet.add(limb([(x, 0.18), (x + 0.02, 0.02)], [0.03, 0.03]), tint(BEAK, -0.25), 0)
        sheet.add(limb([(x - 0.03, 0.015), (x + 0.08, 0.015)], [0.03, 0.025]), tint(BEAK, -0.25), 0)
    sheet.add(poly((-0.20, 0.34), (-0.52, 0.16), (-0.46, 0.08), (-0.14, 0.20)), tint(rgb, -0.15), 0.3)
    sheet.add(
        blob((-0.30, 0.26), (-0.16, 0.46), (0.05, 0.62), (0.22, 0.58), (0.26, 0.38), (0.14, 0.18), (-0.08, 0.13)),
        rgb,
        0.7,
    )
    sheet.add(blob((0.24, 0.50), (0.26, 0.36), (0.14, 0.18), (-0.02, 0.15), (0.06, 0.32)), breast, 0.4)
    sheet.add(ellipse(0.15, 0.64, 0.15 * sheet.head_scale, 0.14 * sheet.head_scale), rgb, 0.6)
    sheet.add(poly((0.27, 0.69), (0.44, 0.63), (0.27, 0.59)), BEAK, 0.2)
    eye(sheet, 0.20, 0.68, 0.026, white=sum(rgb) < 0.8)
    sheet.add(blob((-0.34, 0.20), (-0.14, 0.46), (0.08, 0.46), (0.08, 0.32), (-0.10, 0.22)), tint(rgb, -0.22), 0.5)


def duck(sheet: Sheet, kind: str, pose: str) -> None:
    """Swimming or standing; a flat orange bill, an upturned tail."""
    rgb = sheet.rgb
    if pose != "swimming":
        for x in (-0.06, 0.08):
            sheet.add(limb([(x, 0.16), (x + 0.01, 0.02)], [0.045, 0.04]), tint(BEAK, -0.1), 0.2)
            sheet.add(poly((x - 0.03, 0.0), (x + 0.13, 0.0), (x + 0.02, 0.06)), tint(BEAK, -0.1), 0.2)
    y = 0.0 if pose != "swimming" else -0.12
    head = (0.10, 0.38, 0.22) if sheet.colour in ("brown", "gray") and sheet.chance(0.6) else rgb
    body = blob(
        (-0.52, 0.44 + y),
        (-0.34, 0.36 + y),
        (0.0, 0.36 + y),
        (0.24, 0.42 + y),
        (0.38, 0.30 + y),
        (0.26, 0.14 + y),
        (-0.05, 0.10 + y),
        (-0.34, 0.18 + y),
    )
    sheet.add(body, rgb, 0.7)
    sheet.add(limb([(0.24, 0.32 + y), (0.33, 0.48 + y), (0.30, 0.62 + y)], [0.22, 0.14, 0.15]), rgb, 0.5)
    if head is not rgb:
        sheet.add(limb([(0.24, 0.47 + y), (0.40, 0.47 + y)], [0.04, 0.04]), (0.95, 0.95, 0.93), 0)
    sheet.add(ellipse(0.33, 0.64 + y, 0.145 * sheet.head_scale, 0.13 * sheet.head_scale), head, 0.6)
    sheet.add(blob((0.43, 0.68 + y), (0.56, 0.63 + y), (0.64, 0.60 + y), (0.58, 0.56 + y), (0.44, 0.57 + y)), BEAK, 0.3)
    eye(sheet, 0.38, 0.69 + y, 0.024, white=sum(head) < 1.3)
    sheet.add(
        blob((-0.42, 0.36 + y), (-0.1, 0.35 + y), (0.14, 0.30 + y), (0.04, 0.18 + y), (-0.2, 0.18 + y)),
        tint(rgb, -0.18),
        0.5,
    )
