"""A tiny segmenter on disk, and the command line run in this process."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

NOTES = ["Bilateral pulmonary infection, two infected areas, all left lung and upper right lung."]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    from segue.encoders.text.small import SmallTextEncoder
    from segue.methods.reclmis.config import RecLMISConfig
    from segue.methods.reclmis.model import build_reclmis
    from segue.methods.segmenters import SavedSegmenter, save_segmenter
    from segue.nn.preprocessing import Preprocessing

    torch.manual_seed(0)
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(NOTES), width=16, layers=1, heads=2)
    network = build_reclmis(RecLMISConfig(widths=(8, 8, 16, 16)), text)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_segmenter(SavedSegmenter(network, Preprocessing(size=32), 1.2, {"recipe": "a test"}), folder)
    return folder


@pytest.fixture
def picture(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "scan.png"
    Image.fromarray(rng.integers(0, 255, (40, 56, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def segue(capsys, tmp_path, monkeypatch):
    """Run `segue ARGS` in an empty folder of the test's own: (status, standard output, standard error)."""
    from segue.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> tuple[int, str, str]:
        status = 0
        try:
            main([str(a) for a in args])
        except SystemExit as stop:
            status = int(stop.code or 0)
        told = capsys.readouterr()
        return status, told.out, told.err

    return run
