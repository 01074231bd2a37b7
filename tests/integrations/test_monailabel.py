"""The app over a stand-in for monailabel 0.8, which brings hundreds of megabytes; its interface is copied here."""

import importlib.util
import sys
from abc import ABC, abstractmethod
from enum import Enum
from types import ModuleType

import nibabel
import numpy as np
import pytest
from PIL import Image

import segue as package
from segue.integrations.monailabel import make_app, segment_file
from segue.options import SegmentOptions
from segue.types import InputError, NotInstalled

NOTE = "One infected area, left lung."
HALF = SegmentOptions(threshold=0.45)


class MONAILabelApp:
    def __init__(self, app_dir, studies, conf, name="", description="", version="2.0", labels=None):
        self.app_dir, self.studies, self.conf, self.name, self.labels = app_dir, studies, conf, name, labels
        self._infers = self.init_infers()

    def infer(self, request):
        file, told = self._infers[request["model"]](request)
        return {"file": file, "params": told}


class InferTask(ABC):
    def __init__(self, type, labels, dimension, description, config=None):
        self.type, self.labels, self.dimension, self.description = type, labels, dimension, description
        self._config = dict(config or {})

    def config(self):
        return self._config

    @abstractmethod
    def is_valid(self): ...

    @abstractmethod
    def __call__(self, request): ...


@pytest.fixture(autouse=True)
def _monailabel(monkeypatch):
    app, tasks = ModuleType("monailabel.interfaces.app"), ModuleType("monailabel.interfaces.tasks.infer_v2")
    app.MONAILabelApp, tasks.InferTask = MONAILabelApp, InferTask
    tasks.InferType = Enum("InferType", {"SEGMENTATION": "segmentation"})
    made = ("monailabel", "monailabel.interfaces", "monailabel.interfaces.tasks")
    for module in (*map(ModuleType, made), app, tasks):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def app(tiny_model, tmp_path):
    """As the server makes it: of the class of main.py whose base is called MONAILabelApp."""
    made = f"SegueApp = make_app({str(tiny_model)!r}, label='lesion')"
    (tmp_path / "main.py").write_text(f"from segue.integrations.monailabel import make_app\n{made}\n")
    spec = importlib.util.spec_from_file_location("main", tmp_path / "main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (found,) = (
        one for one in vars(module).values()
        if isinstance(one, type) and "MONAILabelApp" in [base.__name__ for base in one.__bases__]
    )  # fmt: skip
    return found(app_dir=str(tmp_path), studies=str(tmp_path), conf={"note": NOTE})


def test_a_picture_is_segmented_by_the_servers_note_or_the_requests(app, tiny_model, picture):
    model, (task,) = package.load(tiny_model), app._infers.values()
    assert (task.type.value, task.labels, task.is_valid()) == ("segmentation", {"lesion": 1}, True)
    assert task.config() == {"note": NOTE, "threshold": ""}
    for given, note in (({}, NOTE), ({"note": "two infected areas"}, "two infected areas"), ({"note": ""}, None)):
        answer = app.infer({"model": "segue", "image": str(picture), "threshold": "0.45", **given})
        expected = model.segment(picture, note, options=HALF)
        np.testing.assert_array_equal(np.asarray(Image.open(answer["file"])), expected.mask.astype(np.uint8))
        assert answer["params"]["area"] == expected.area > 0
        assert (answer["params"]["label_names"], answer["params"]["note"]) == ({"lesion": 1}, note)


def test_a_volumes_mask_lies_on_its_own_grid(tiny_model, tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (20, 24, 3)).astype(np.int16)
    affine = np.diag([-0.7, -0.7, 5.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "scan.nii.gz")
    file, told = segment_file(package.load(tiny_model), tmp_path / "scan.nii.gz", NOTE, HALF)
    mask = nibabel.load(file)
    assert (mask.shape, told["area"]) == ((20, 24, 3), int(mask.get_fdata().sum()))
    np.testing.assert_allclose(mask.affine, affine)
    assert told["area"] > 0


def test_what_cannot_be_read_is_refused_and_leaves_no_file(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.png"):
        segment_file(package.load(tiny_model), tmp_path / "bad.png", NOTE, HALF)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_without_the_package_it_is_said_how_to_have_it(tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "monailabel.interfaces.app", None)
    with pytest.raises(NotInstalled, match="pip install monailabel"):
        make_app(str(tiny_model))
