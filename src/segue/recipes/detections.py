"""What a detector finds in many pictures, kept in a cache, a line for each; a search that was stopped continues."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segue.data.embedding_store import Item, show_progress
from segue.files import locked
from segue.methods.detectors import Detections, load_detector


def detect_once(
    items: Sequence[Item], source: str, cache: Path, device: str = "cpu"
) -> tuple[tuple[str, ...], list[Detections]]:
    """The detector's names, and what it finds in each picture, without features. source: as of `load_detector`."""
    detect = load_detector(source, device)
    content = str([source, [(item.name, item.content_key) for item in items]])
    file = cache / f"detections-{hashlib.sha256(content.encode()).hexdigest()[:16]}.jsonl"
    with locked(file):
        file.touch()
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):  # the process was killed while it wrote this line
            os.truncate(file, file.stat().st_size - len(lines.pop().encode()))
        with file.open("a", encoding="utf-8") as kept:
            for i, item in enumerate(items[len(lines) :], len(lines) + 1):
                found = detect(item.load())
                lines.append(json.dumps({"labels": found.labels, "boxes": np.round(found.boxes, 2).tolist()}) + "\n")
                kept.write(lines[-1])
                kept.flush()
                show_progress(i, len(items))
    answers = map(json.loads, lines)
    boxes = ((one["labels"], np.array(one["boxes"], np.float32).reshape(-1, 4)) for one in answers)
    return tuple(detect.names), [Detections(labels, found, None) for labels, found in boxes]
