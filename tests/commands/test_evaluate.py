"""`segue eval` of a model that names pixels, and of one that reads notes."""

import json

import numpy as np
import pytest

from data.lvit_folder import write_book, write_lvit
from groupvit_folder import write_groupvit
from scenes_and_encoder import write_scenes
from segue.api.open_vocabulary import load_open_vocabulary
from segue.data.formats import read_pictures
from segue.data.medical.note_tables import read_notes
from segue.evaluation.labels import score_pictures, with_truth
from segue.methods.cocu.protocols import PROTOCOLS, EvalProtocol
from segue.synthetic.scenes.scene import CLASSES


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "scenes", EvalProtocol(32, 32, 16))
        yield


@pytest.fixture(scope="module")
def groupvit(tmp_path_factory):
    words = [*CLASSES, "a photo of a background.", "the"]
    # weights that are right somewhere: those of seed 0 name every pixel wrong under each protocol
    return write_groupvit(tmp_path_factory.mktemp("models") / "m", words, seed=2, concept_vocabulary=["dog", "sky"])


def test_eval_prints_the_protocol_and_the_overlap(segue, groupvit, scenes, tmp_path):
    args = ("--data", scenes, "--split", "val", "--protocol", "scenes")
    status, output, error = segue("eval", groupvit, *args, "--json")
    assert status == 0, error
    answer = json.loads(output)
    assert answer["protocol_settings"]["crop"] == 32
    assert answer["pictures"] == 2
    assert answer["classes"] == 32 == answer["vocabulary_overlap"]["of"]
    assert answer["vocabulary_overlap"]["held"] == 32 - len(answer["vocabulary_overlap"]["missing"])
    there = [v for v in answer["class_iou"].values() if v is not None]
    assert answer["miou"] == pytest.approx(np.mean(there))
    (tmp_path / "words.txt").write_text("dog\nsky\nzebra\n")
    args = ("--data", scenes, "--split", "val", "--vocabulary", tmp_path / "words.txt")
    status, output, _ = segue("eval", groupvit, *args, "--json")
    assert json.loads(output)["vocabulary_overlap"]["held"] == 2
    status, output, _ = segue("eval", groupvit, *args)
    assert status == 0
    assert "miou" in output


def test_eval_changes_the_protocol(segue, groupvit, scenes, tiny_model):
    args = ("--data", scenes, "--split", "val", "--json")
    plain = json.loads(segue("eval", groupvit, *args)[1])
    more = ("--hard", "--prompt", "the {}", "--top-k", 3)
    status, output, error = segue("eval", groupvit, *args, *more, "--protocol", "scenes")
    assert status == 0, error
    changed = json.loads(output)
    assert changed["protocol_settings"] == plain["protocol_settings"] | {"rule": "hard", "prompt": "the {}", "top_k": 3}
    assert (plain["protocol"], changed["protocol"]) == ("the model's own", "scenes, changed")
    protocol = EvalProtocol(**changed["protocol_settings"])
    predictor = load_open_vocabulary(groupvit)
    predictor.protocol = protocol
    pictures, classes, truth = with_truth(read_pictures(scenes, "val"), protocol)
    ious, accuracy = score_pictures(predictor, pictures, classes, truth)
    assert (changed["miou"], changed["pixel_accuracy"]) == (pytest.approx(np.nanmean(ious)), pytest.approx(accuracy))
    assert changed["pixel_accuracy"] != plain["pixel_accuracy"]
    assert "expected one {}" in segue("eval", groupvit, *args, "--prompt", "the")[2]
    assert "--top-k: " in segue("eval", tiny_model, *args, "--top-k", 3)[2]


def test_published_protocols_score_val_unless_asked_otherwise(segue, groupvit, scenes):
    status, output, error = segue("eval", groupvit, "--data", scenes, "--protocol", "cityscapes", "--json")
    assert status == 0, error
    assert json.loads(output)["split"] == "val"
    assert json.loads(output)["as_published"].startswith("no: these classes")
    assert json.loads(segue("eval", groupvit, "--data", scenes, "--json")[1])["split"] == "test"
    assert json.loads(segue("eval", groupvit, "--data", scenes, "--protocol", "scenes", "--json")[1])["split"] == "test"
    status, _, error = segue("eval", groupvit, "--data", scenes, "--protocol", "voc", "--hard")
    assert (status, "take our softer rule" in error) == (2, True)


def test_options_of_the_other_kind_of_model_are_refused(segue, groupvit, tiny_model, scenes):
    for model, option, message in (
        (groupvit, ("--tta",), "--tta"),
        (groupvit, ("--empty", "zero"), "--empty"),
        (groupvit, ("--protocol", "vok"), "protocol 'vok': expected one of voc"),
        (tiny_model, ("--protocol", "voc"), "--protocol"),
    ):
        status, _, error = segue("eval", model, "--data", scenes, *option)
        assert status == 2
        assert message in error


def test_a_report_has_the_printed_figures_and_is_refused_before_any_work(segue, tiny_model, tmp_path, monkeypatch):
    lvit = write_lvit(tmp_path / "data")
    score = ("eval", tiny_model, "--data", lvit, "--split", "train", "--json")
    plain = json.loads(segue(*score)[1])
    status, output, error = segue(*score, "--report", tmp_path / "report")
    assert status == 0, error
    answer = json.loads(output)
    assert answer == plain | {"report": str(tmp_path / "report/index.html")}
    page = (tmp_path / "report/index.html").read_text()
    assert f"segue eval {tiny_model} --data {lvit} --split train --report {tmp_path / 'report'} --json" in page
    assert f"<td>{answer['dice']:.4g}</td>" in page
    assert 'href="../data/Train_Folder/img/covid_1.png"' in page
    monkeypatch.setattr("segue.evaluation.notes.evaluate", None)
    status, _, error = segue(*score, "--report", lvit)
    assert (status, "data: holds files but no report" in error) == (2, True)


def test_a_report_of_names_shows_each_picture(segue, groupvit, scenes, tmp_path):
    args = ("--data", scenes, "--split", "val", "--report", tmp_path / "report", "--json")
    status, output, error = segue("eval", groupvit, *args)
    assert status == 0, error
    page = (tmp_path / "report/index.html").read_text()
    assert page.count("<b>mIoU ") == 2
    assert f"<td>{json.loads(output)['miou']:.4g}</td>" in page
    assert "Confusion of classes" in page


def test_eval_of_notes_tells_who_has_none_and_stops_where_one_is_not_found(segue, tiny_model, tmp_path):
    lvit = write_lvit(tmp_path / "data")
    score = ("eval", tiny_model, "--data", lvit, "--split", "train", "--json")
    rows = read_notes(lvit / "Train_text.xlsx")
    write_book(lvit / "Train_text.xlsx", [(rows[0][0], None), *rows[1:]])
    status, output, _ = segue(*score)
    assert status == 0
    assert [json.loads(output)[key] for key in ("n", "without_note")] == [4, 1]
    write_book(lvit / "Train_text.xlsx", rows[1:])
    status, output, error = segue(*score)
    assert (status, output) == (2, "")
    assert "the data check found 1 errors: train covid_1.png" in error
    status, output, error = segue(*score, "--on-bad", "skip")
    assert status == 0
    assert [json.loads(output)[key] for key in ("n", "without_note")] == [3, 0]
    assert json.loads(output)["data_check"]["errors"] == {"missing-note": 1}
    assert "1 of 4 pictures have no row" in error
