"""Packages import what they may, and nothing is loaded before it is needed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


def python(code, *args):
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_packages_import_only_what_they_may():
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_importing_segue_loads_no_torch():
    assert python("import sys, segue; print('torch' in sys.modules)") == "False\n"


def test_what_segue_offers_is_listed():
    import segue
    import segue.api

    predictors = {"Captioner", "Describer", "DualEncoder", "Illustrator", "OpenVocabularySegmenter", "Segmenter"}
    assert {"load", "InputError", "LabelMap"} | predictors <= set(dir(segue))
    assert all(getattr(segue, name) is not None for name in dir(segue))
    assert {"load", "Segmentation", "LabelMap", "GroundedCaption", "Layout"} <= set(dir(segue.api))
    assert all(hasattr(segue.api, name) for name in dir(segue.api))


LIMITS = {"import segue": 15} | {  # segue's own modules that may be loaded
    f"import segue; segue.load({name!r})": 100
    for name in (
        "reclmis-chest",
        "cocu-scenes",
        "syntic-scenes",
        "sgdiff-scenes",
        "crossmodal-scenes",
        "scenes-encoder",
    )
}


@pytest.mark.parametrize("code", LIMITS)
def test_a_predictor_loads_its_own_modules_and_not_the_others(code):
    """Also where there is no fcntl, as on Windows. What no predictor may load: trainings, commands and the lab."""
    count = """
loaded = [name for name in sys.modules if name == "segue" or name.startswith("segue.")]
above = tuple("segue." + name for name in ("recipes", "commands", "lab", "serving"))
foreign = [name for name in loaded if name.startswith(above)]
print(len(loaded), foreign)
"""
    found = python(f"import sys; sys.modules['fcntl'] = None\n{code}\n{count}").splitlines()[-1]
    assert int(found.split()[0]) <= LIMITS[code]
    assert found.endswith(" []"), found


@pytest.mark.parametrize(
    "args",
    [
        ["caption", "a.png", "--model", "syntic-scenes"],
        ["segment", "a.png", "--labels", "dog, grass", "--model", "cocu-scenes", "-o", "labels.png"],
        ["segment", "a.png", "--labels", "dog, grass", "-o", "labels.png"],
        ["segment", "a.png", "--note", "One infected area.", "-o", "mask.png"],
    ],
)
def test_a_command_loads_few_modules(args, tmp_path):
    """No more than 100 of Segue's own, and nothing of the methods that it doesn't use."""
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "a.png")
    args = [str(tmp_path / arg) if arg.endswith(".png") else arg for arg in args]
    code = f"""
import sys
from segue.cli import main
main({args!r})
loaded = [name for name in sys.modules if name.startswith("segue.")]
print(len(loaded), [name for name in loaded if name.startswith("segue.methods.crossmodal")])
"""
    found = python(code).splitlines()[-1]
    assert int(found.split()[0]) < 100
    assert found.endswith(" []"), found


def test_captioning_loads_no_transformers_no_compiler_no_filters_and_no_detector(tmp_path):
    """It reads each file of weights once, and starts no other process."""
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "a.png")
    code = f"""
import subprocess, sys, torch
from segue.cli import main
read, load, subprocess.Popen = [], torch.load, None
torch.load = lambda *args, **more: read.append(args) or load(*args, **more)
main(["caption", {str(tmp_path / "a.png")!r}])
unused = ("scipy.ndimage", "sympy", "torch._dynamo", "transformers", "segue.methods.detectors", "segue.data.export")
print(len(read), [name for name in unused if name in sys.modules])
"""
    assert python(code).endswith("1 []\n")


def test_help_loads_neither_torch_nor_numpy():
    code = """
import contextlib, io, sys
from segue.cli import main
for args in ([], ["segment"], ["data", "make"]):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([*args, "--help"])
print([name for name in ("filelock", "numpy", "torch", "transformers") if name in sys.modules])
"""
    assert python(code).endswith("[]\n")


def test_no_path_of_a_machine_stands_in_the_repository():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False).stdout.split()
    homes = ("/home/" + "user", "/root/", "/work" + "/", "/Users/")
    texts = {name: (ROOT / name).read_text(errors="ignore") for name in tracked if (ROOT / name).is_file()}
    assert [
        name for name, text in texts.items() if name != "tests/test_architecture.py" and any(h in text for h in homes)
    ] == []
