"""The recipes on a few tiny phantoms: from a folder of pictures to a checkpoint that segments."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data.lvit_folder import write_book, write_lvit
from segue.api import load
from segue.api.models import about
from segue.data.medical.lvit import read_lvit
from segue.data.medical.note_batches import load_examples
from segue.data.medical.note_tables import read_notes
from segue.evaluation.notes import evaluate
from segue.methods.reclmis.config import RecLMISConfig
from segue.recipes.reclmis import (
    RECLMIS,
    RecLMISSettings,
    folds_by_group,
    hold_out,
    train_network,
    train_reclmis,
)
from segue.recipes.reclmis_options import AUTO, network_config
from segue.synthetic.chest import make_chest
from segue.training import read_history
from segue.types import InputError

TINY = RecLMISConfig(widths=(8, 8, 16, 16), reconstruction_layers=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "chest"
    make_chest(folder, train=8, val=4, test=4, size=48)
    return folder


@pytest.fixture
def settings(data, tmp_path) -> RecLMISSettings:
    return RecLMISSettings(out=tmp_path / "run", data=data, image_size=32, steps=4, batch_size=4, evaluations=2)


def test_a_training_leaves_a_model_that_segments_and_scores(settings, data):
    best = train_network(settings, TINY)
    model = load(best)
    examples = load_examples(read_lvit(data, "test"))
    result = evaluate(model, examples, empty="one")
    assert {"dice", "iou", "miou", "class_miou", "n", "empty_policy", "ece", "resolution"} <= set(result)
    assert result["n"] == 4
    rows = read_history(settings.out)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert {"train/segmentation", "train/t2v", "train/v2t", "train/ccl"} <= set(rows[0])
    assert {"evaluate/dice", "evaluate/gradient_v_t2v", "evaluate/gradient_e_v2t"} <= set(rows[-1])
    config = json.loads((best / "config.json").read_text())
    assert config["method"] == "reclmis"
    assert config["temperature"] > 0
    assert about(best)["data"] == "chest"
    assert str(data.parent) not in (best / "config.json").read_text()  # the name alone
    page = (settings.out / "report/index.html").read_text()
    assert "4 of 4 validation pictures" in page
    assert page.count("<img") == 4
    shown = [float(found) for found in re.findall(r"<b>Dice ([\d.]+)</b>", page)]
    val = evaluate(model, load_examples(read_lvit(data, "val"), 32), empty="one")
    assert sum(shown) / 4 == pytest.approx(val["dice"], abs=1e-3)


def test_a_second_training_into_the_same_folder_needs_resume(settings):
    train_network(settings, TINY)
    with pytest.raises(InputError, match="pass --resume to go on with it"):
        train_network(settings, TINY)


def kept(out):
    return [(out / name).read_text() for name in ("run.yaml", "data_check.json")]


@pytest.mark.parametrize("folds", [1, 2])
def test_a_refused_resume_leaves_the_record_of_the_run(settings, tmp_path, folds):
    settings = replace(settings, folds=folds, steps=2, evaluations=1)
    train_network(settings, TINY)
    before, other = kept(settings.out), tmp_path / "other"
    make_chest(other, train=9, val=4, test=0, size=48)
    next((other / "Train_Folder/img").iterdir()).write_bytes(b"PNG")  # which the data check finds
    with pytest.raises(InputError, match=r"lr: got 1\.0, but the run in .* has 0.001"):
        train_network(replace(settings, data=other, on_bad="skip", lr=1.0, resume=True), TINY)
    assert kept(settings.out) == before


def test_folds_record_the_settings_of_the_whole_run(settings):
    folds = replace(settings, folds=2, steps=2, evaluations=1, batch_size=AUTO, minutes=8.0)
    train_network(folds, TINY)
    lines = kept(settings.out)[0].splitlines()
    assert {f"out: {settings.out}", "folds: 2", "minutes: 8.0", "batch_size: 8"} <= set(lines)  # as planned
    assert not (settings.out / "fold-0" / "run.yaml").exists()


def test_folds_are_averaged_and_never_share_a_patient(settings, data):
    train_network(replace(settings, folds=2, steps=2, evaluations=1), TINY)
    assert len(load(settings.out).members) == 2
    examples = load_examples(read_lvit(data, "train"))
    examples = [replace(e, group=f"patient{i % 3}") for i, e in enumerate(examples)]
    for inside, outside in folds_by_group(examples, 3, seed=0):
        assert not {e.group for e in inside} & {e.group for e in outside}
        assert len(inside) + len(outside) == len(examples)
    with pytest.raises(InputError, match="3 patients can't be divided into 4 folds"):
        folds_by_group(examples, 4, seed=0)


def test_a_corrupt_picture_stops_the_run_before_training(settings, tmp_path):
    import shutil

    shutil.copytree(settings.data, tmp_path / "broken")
    (tmp_path / "broken/Train_Folder/img/covid_3.png").write_bytes(b"PNG")
    broken = replace(settings, data=tmp_path / "broken")
    with pytest.raises(InputError, match=r"the data check found 1 errors: train covid_3\.png: "):
        train_network(broken, TINY)
    assert not broken.out.exists()


def test_the_recipe_under_torchrun_follows_one_process(settings):
    """Loss curves of one process and of two with the same global batch agree within 1e-4.

    The rate is low because Adam's first steps are as long for a gradient that is rounding noise as for any other;
    in float64 the gradients of one process and of two were seen to agree to 1e-14.
    """
    chosen = {"image_size": 32, "steps": 3, "batch_size": 4, "evaluations": 1, "lr": 3e-6}
    chosen |= {"system": "full", "vision": "none", "patches": "no", "augmentation": "light"}
    train_reclmis(replace(RECLMIS, out=settings.out, data=settings.data, **chosen))
    out = settings.out.with_name("two")
    words = f"--data {settings.data} --out {out} --image-size 32 --steps 3 --batch-size 4 --evaluations 1"
    words += " --system full --vision none --patches no --augmentation light"
    words = [*words.split(), "--lr", "3e-6", "--precision", "float32"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [*launch, "-m", "segue", "train", "reclmis", *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for one, two in zip(read_history(settings.out), read_history(out), strict=True):
        for name in one:
            if name.startswith("train/"):
                assert one[name] == pytest.approx(two[name], abs=1e-4), name


def test_systems_by_name(settings):
    assert network_config(replace(settings, system="text_blind")).interaction == "none"
    assert network_config(replace(settings, size="faithful")).widths == (64, 128, 256, 512, 512)


def test_a_folder_without_a_training_split(settings, tmp_path):
    with pytest.raises(InputError, match="found the splits none, expected at least Train_Folder"):
        train_network(replace(settings, data=tmp_path), TINY)


def test_an_image_size_that_the_network_can_not_halve(settings):
    with pytest.raises(InputError, match="got 33, expected a multiple of 16 for this network; for instance 32"):
        train_network(replace(settings, image_size=33), TINY)


def test_the_real_table_needs_its_data(tmp_path):
    from segue.lab.tables.reclmis import real_table

    for row in real_table():
        with pytest.raises(InputError, match="expected a folder that holds covid_cxr and monuseg"):
            row.run(row.work(tmp_path / "table", tmp_path))


def test_folds_go_on_with_more_steps(settings):
    folds = replace(settings, folds=2, steps=2, evaluations=1)
    train_network(folds, TINY)
    with pytest.raises(InputError, match="holds the state of a run; pass --resume"):
        train_network(folds, TINY)
    with pytest.warns(UserWarning, match="3 steps in the place of 2"):
        train_network(replace(folds, steps=3, resume=True), TINY)
    assert [read_history(settings.out / f"fold-{i}")[-1]["step"] for i in (0, 1)] == [3, 3]


def test_a_run_without_folds_does_not_go_on_with_folds(settings):
    settings = replace(settings, steps=1, evaluations=1)
    train_network(settings, TINY)
    with pytest.raises(InputError, match=r"folds: got 2, but the run in .* has none; resume it without --folds"):
        train_network(replace(settings, folds=2, resume=True), TINY)
    assert not (settings.out / "fold-0").exists()


def test_a_few_patients_without_a_validation_folder(settings, tmp_path, capsys):
    data = write_lvit(tmp_path / "data")  # four pictures, each of a patient of its own, to train on
    shutil.rmtree(data / "Val_Folder")
    assert train_network(replace(settings, data=data, batch_size=2), TINY).name == "best"
    assert "no Val_Folder; 1 pictures of 1 of 4 patients validate" in capsys.readouterr().out
    one = [replace(example, group="p") for example in load_examples(read_lvit(data, "train"))]
    with pytest.raises(InputError, match=r"no Val_Folder, and all 4 training pictures are of one patient"):
        hold_out(one, settings)


def test_training_asks_the_data_check_first_and_tells_what_it_found(segue, settings, data, tmp_path):
    broken = write_lvit(tmp_path / "data")
    train = ("train", "reclmis", "--data", broken, "--image-size", 32, "--steps", 1, "--batch-size", 2, "--out")
    (broken / "Train_Folder/img/covid_1.png").write_bytes(b"")
    status, output, error = segue(*train, tmp_path / "run", "--system", "unet")
    assert (status, output) == (2, "")
    assert "the data check found 1 errors: train covid_1.png" in error
    status, output, error = segue(*train, tmp_path / "run", "--system", "unet", "--on-bad", "skip", "--json")
    assert status == 0, error
    assert json.loads(output.splitlines()[-1]) == {
        "saved_to": str(tmp_path / "run/best"),
        "report": str(tmp_path / "run/report/index.html"),
        "data_check": {"errors": {"unreadable-image": 1}, "warnings": {}, "decoded": True},
    }
    assert "data check: 1 errors passed over (unreadable-image 1)" in error


def test_notes_that_are_all_empty_stop_a_method_that_learns_from_them(settings, tmp_path):
    data = write_lvit(tmp_path / "data")
    rows = [(name, None) for name, _ in read_notes(data / "Train_text.xlsx")]
    write_book(data / "Train_text.xlsx", rows)
    with pytest.raises(InputError, match="the notes of all 4 training pictures are empty, and full learns from notes"):
        train_network(replace(settings, data=data), TINY)
    assert train_reclmis(replace(settings, data=data, system="unet", steps=1)).name == "best"
