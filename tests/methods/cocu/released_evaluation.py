"""The released evaluation of GroupViT and CoCu, written a second time from its rule, window by window.

Nothing of `segue.methods.cocu` is used: the network is `transformers`', the numbers stand here again.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

# short side, window, step, threshold of background
PROTOCOLS = {
    "voc": (448, 448, 224, 0.95),
    "context": (448, 448, 224, 0.35),
    "coco-object": (448, 448, 224, 0.95),
    "stuff": (512, 224, 112, None),
    "cityscapes": (1024, 448, 224, None),
    "ade20k": (512, 224, 112, None),
}
MEAN, STD = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])


def resize_picture(image, height, width):
    """OpenCV's bilinear interpolation of bytes: 11 bits of weight, rows are mixed after columns."""
    if image.shape[:2] == (height, width):
        return image
    old_height, old_width = image.shape[:2]
    columns = np.zeros((old_height, width, 3), np.int64)
    for x in range(width):
        at = np.float32((x + 0.5) * (old_width / width) - 0.5)
        left = math.floor(at)
        share = round(float((at - np.float32(left)) * np.float32(2048)))
        if left < 0 or left >= old_width - 1:
            columns[:, x] = image[:, min(max(left, 0), old_width - 1)].astype(np.int64) * 2048
        else:
            columns[:, x] = (
                image[:, left].astype(np.int64) * (2048 - share) + image[:, left + 1].astype(np.int64) * share
            )
    out = np.zeros((height, width, 3), np.uint8)
    for y in range(height):
        at = np.float32((y + 0.5) * (old_height / height) - 0.5)
        above = math.floor(at)
        share = round(float((at - np.float32(above)) * np.float32(2048)))
        one, two = (columns[min(max(row, 0), old_height - 1)] // 16 for row in (above, above + 1))
        out[y] = ((one * (2048 - share) // 65536) + (two * share // 65536) + 2) // 4
    return out


def starts(length, window, step):
    count = max(length - window + step - 1, 0) // step + 1
    return [max(min(i * step + window, length) - window, 0) for i in range(count)]


@torch.no_grad()
def name_window(network, window, text, threshold):
    """(C or 1 + C, h, w) of one window (1, 3, h, w): background first where there is a threshold."""
    vision = network.vision_model(window, output_attentions=True)
    first, second = vision.attentions[0], vision.attentions[1]  # (1, G, N) soft
    shares = (second @ first)[0]
    rows, columns = window.shape[2] // 16, window.shape[3] // 16
    shares = F.interpolate(shares.view(1, -1, rows, columns), window.shape[2:], mode="bilinear", align_corners=False)[0]
    groups = F.normalize(network.visual_projection(vision.last_hidden_state[0]), dim=1)
    picture = F.normalize(network.visual_projection(vision.last_hidden_state.mean(1)), dim=1)[0]
    scale = min(float(network.logit_scale.exp()), 100.0)
    table = torch.zeros(len(groups), len(text))
    best = sorted(range(len(text)), key=lambda c: -float(picture @ text[c]))[:5]
    for g, group in enumerate(groups):
        logits = scale * (text @ group)
        table[g, best] = logits[best].softmax(0) * logits.softmax(0)[best]
    group_of = shares.argmax(0)
    named = table[group_of].permute(2, 0, 1)
    if threshold is None:
        return named
    limit = min(threshold, float(table.max()))
    return torch.cat([(named.amax(0) < limit).float()[None], named])


@torch.no_grad()
def evaluate_picture(network, image, text, protocol):
    """(H, W) positions of the names, -1 for background."""
    short, window, step, threshold = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
    height, width = image.shape[:2]
    factor = min(2048 / max(height, width), short / min(height, width))
    pixels = resize_picture(image, int(height * factor + 0.5), int(width * factor + 0.5))
    pixels = torch.from_numpy((pixels.astype(np.float32) - MEAN) / STD).permute(2, 0, 1)[None]
    layers = len(text) + (threshold is not None)
    total, count = torch.zeros(layers, *pixels.shape[2:]), torch.zeros(pixels.shape[2:])
    for y in starts(pixels.shape[2], window, step):
        for x in starts(pixels.shape[3], window, step):
            part = pixels[:, :, y : y + window, x : x + window]
            total[:, y : y + window, x : x + window] += name_window(network, part, text, threshold)
            count[y : y + window, x : x + window] += 1
    whole = F.interpolate((total / count)[None], (height, width), mode="bilinear", align_corners=False)[0]
    return whole.softmax(0).argmax(0).numpy() - (threshold is not None)
