import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel, BertTokenizerFast, ViTConfig, ViTModel

import segue as package
from segue.api.illustrator import NEXT_TRY
from segue.api.models import about
from segue.commands.demo.layouts import EACH, SENTENCES, layouts_section
from segue.data.layouts import read_layout, write_layout
from segue.options import Decoding
from segue.recipes.crossmodal import Settings, crossmodal
from segue.synthetic.scenes.writer import make_scenes
from segue.types import InputError

PIXELS = np.zeros((20, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "scenes"
    make_scenes(folder, train=6, val=2, test=2, size=32, workers=1)
    return folder


@pytest.fixture(scope="module")
def settings(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    tiny = {"image_size": 32, "factor": 8, "width": 64, "depth": 2, "vq_steps": 3, "steps": 4, "batch_size": 4}
    return Settings(out=out, data=scenes, evaluations=1, **tiny)


@pytest.fixture(scope="module")
def model(settings):
    return crossmodal(settings)


def test_a_checkpoint_tells_its_data_by_name(model, scenes):
    assert about(model)["data"] == "scenes"
    assert str(scenes.parent) not in (model / "config.json").read_text()


def test_a_trained_model_draws_and_tells(model):
    illustrator = package.load(model)
    drawn = illustrator.draw("a dog on the grass", num=3, steps=3, seed=5)
    assert [d.labels.shape for d in drawn] == [(32, 32)] * 3
    assert drawn[0].condition == "caption"
    assert sum(drawn[0].areas.values()) == pytest.approx(1)
    again = illustrator.draw("a dog on the grass", num=1, steps=3, seed=6)[0]
    assert (again.labels == drawn[1].labels).all()
    told = illustrator.tell(drawn[0].labels, num=2)
    assert len({t.caption for t in told}) == 2
    assert told[0].condition == "mask"
    assert illustrator.draw("a dog", image=PIXELS, steps=2)[0].condition == "caption+image"
    assert illustrator.tell(drawn[0].labels, image=PIXELS)[0].condition == "mask+image"


def test_of_several_tries_the_one_stays_that_tells_the_caption_best(model, monkeypatch):
    illustrator = package.load(model)
    tries = [illustrator.draw("a dog", seed=7 + i * NEXT_TRY, steps=2, tries=1)[0] for i in range(3)]
    assert any((tries[0].labels != one.labels).any() for one in tries[1:])
    for best in range(3):
        scores = iter([1.0 if i == best else 0.0 for i in range(3)])
        monkeypatch.setattr("segue.api.illustrator.log_likelihood", lambda *_, s=scores: torch.tensor([next(s)]))
        chosen = illustrator.draw("a dog", seed=7, steps=2, tries=3)[0]
        assert (chosen.labels == tries[best].labels).all()
        assert chosen.seed == 7


def test_what_is_kept_stays(model):
    illustrator = package.load(model)
    keep = np.full((32, 32), 255, np.uint8)
    keep[:13] = 24
    drawn = illustrator.draw("a dog on the grass", keep=keep, steps=2)[0]
    assert (drawn.labels[:13] == 24).all()


def test_heat_maps_one_for_each_word(model):
    illustrator = package.load(model)
    maps = illustrator.heat_maps(np.zeros((32, 32), np.uint8), "a dog on zebras, grass")
    assert [word for word, _ in maps] == ["a", "dog", "on", "zebras", "grass"]
    assert [m.shape for _, m in maps] == [(32, 32)] * 5
    assert max(m.max() for _, m in maps) == pytest.approx(1, abs=0.2)
    assert illustrator.heat_maps(np.zeros((32, 32), np.uint8), "?!") == []


def test_heat_maps_of_nouns_are_written(segue, model, tmp_path):
    illustrator = package.load(model)
    illustrator.saved.about["nouns"] = ["dog", "grass"]
    assert illustrator.nouns("Two dogs on the grass, the grass is green") == ["dogs", "grass"]
    kept = json.loads((model / "config.json").read_text())["about"]
    assert kept["nouns"]
    noun = kept["nouns"][0].split()[-1]
    caption = f"the {noun} on it"
    drawn = ("draw", caption, "--model", str(model), "-o", str(tmp_path), "--num", "1", "--steps", "2", "--json")
    status, out, _ = segue(*drawn, "--export", "heat")
    assert status == 0
    files = json.loads(out)["layouts"][0]["heat"]
    assert files == {noun: str(tmp_path / f"layout-0-heat-{noun}.png")}
    with Image.open(files[noun]) as picture:
        assert picture.size == (32, 32)
    del illustrator.saved.about["nouns"]
    with pytest.raises(InputError, match="train it again"):
        illustrator.nouns("a dog")


def test_a_finished_run_is_resumed_without_training_again(settings, model):
    before = (model / "model.safetensors").read_bytes()
    assert crossmodal(replace(settings, resume=True)) == model
    assert (model / "model.safetensors").read_bytes() == before


def test_draw_and_tell_from_the_command_line(segue, model, tmp_path):
    status, out, _ = segue("draw", "two dogs", "--model", str(model), "-o", str(tmp_path), "--num", "2", "--steps", "2",
                           "--json", "--export", "panoptic", "masks")  # fmt: skip
    assert status == 0
    assert len(json.loads(out)["layouts"]) == 2
    assert read_layout(tmp_path / "layout-1.png", 32).shape == (32, 32)
    assert (tmp_path / "layout-0-panoptic.json").exists()
    status, out, _ = segue("caption-layout", str(tmp_path / "layout-0.png"), "--model", str(model), "--num", "2")
    assert status == 0
    assert len(out.splitlines()) == 2
    status, _, _ = segue("caption-layout", str(tmp_path / "layout-0-colours.png"), "--model", str(model))
    assert status == 0


def test_bad_input_is_told(segue, model, tmp_path):
    illustrator = package.load(model)
    with pytest.raises(InputError, match="got an empty one"):
        illustrator.draw("  ")
    with pytest.raises(InputError, match="expected 1 or more"):
        illustrator.draw("a dog", num=0)
    with pytest.raises(InputError, match="got steps 2, tries 0"):
        illustrator.draw("a dog", steps=2, tries=0)
    with pytest.raises(InputError, match="holds the ids 40"):
        illustrator.tell(np.full((8, 8), 40, np.uint8))
    assert illustrator.tell(np.zeros((1, 3), np.uint8))  # tiny, not square: brought to the model's size
    assert illustrator.unseen_words("a zebra; on the (grass)!") == ["zebra"]
    with pytest.raises(InputError, match="temperature -1"):
        illustrator.draw("a dog", temperature=-1)
    for captions, images, seeds in (([], None, []), (["a dog"], None, [1, 2]), (["a", "b"], [PIXELS], [1, 2])):
        with pytest.raises(InputError, match=f"got {len(captions)} captions, {len(seeds)} seeds and"):
            illustrator.draw_many(captions, images, seeds=seeds)
    with pytest.raises(InputError, match="every pixel is unknown"):
        illustrator.tell(np.full((8, 8), 255, np.uint8))
    with pytest.raises(InputError, match="got no layout"):
        illustrator.tell_many([])
    with pytest.raises(InputError, match="2 layouts and 1 pictures"):
        illustrator.tell_many([np.zeros((8, 8), np.uint8)] * 2, [PIXELS])
    Image.fromarray(np.full((4, 4, 3), 200, np.uint8)).save(tmp_path / "rgb.png")
    status, _, error = segue("caption-layout", str(tmp_path / "rgb.png"), "--model", str(model))
    assert status == 2
    assert "give its palette" in error
    write_layout(np.full((4, 4), 255, np.uint8), tmp_path / "void.png", 32)
    status, _, error = segue("caption-layout", str(tmp_path / "void.png"), "--model", str(model))
    assert status == 2
    assert "nothing to tell" in error


def test_telling_ends_where_the_model_does(model):
    illustrator = package.load(model)
    hot = Decoding(max_tokens=500, top_p=1.0, temperature=50.0, num=2)
    assert len(illustrator.tell(np.zeros((8, 8), np.uint8), decoding=hot)) == 2


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "on", "the", "grass", "car", "##s"]


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """A ViT and a BERT of equal shape, as folders."""
    folder = tmp_path_factory.mktemp("towers")
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    torch.manual_seed(0)
    ViTModel(ViTConfig(**shape, image_size=32, patch_size=8)).save_pretrained(folder / "vit")
    BertModel(BertConfig(**shape, vocab_size=len(WORDS))).save_pretrained(folder / "bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    return {name: str(folder / name) for name in ("vit", "bert")}


def test_training_starts_from_a_vit_and_a_bert(settings, towers, tmp_path):
    model = crossmodal(replace(settings, **towers, steps=1, lr=1e-9, ema=0.0, out=tmp_path / "run"))
    illustrator = package.load(model)
    ours = illustrator.saved.model.word_stream.layers[0].attend.q.weight
    theirs = BertModel.from_pretrained(towers["bert"]).encoder.layer[0].attention.self.query.weight
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert illustrator.saved.words.encode(["dogs"], 8)[0].tolist() == [[6, 11, 3]]
    assert illustrator.draw("a dog", steps=2)[0].labels.shape == (32, 32)
    said = illustrator.tell(np.zeros((8, 8), np.uint8), num=4)
    assert not any("[" in one.caption for one in said)


def test_starts_that_do_not_fit_are_refused(settings, towers, tmp_path):
    for changes, message in (
        ({"vit": towers["vit"]}, "expected both"),
        (towers | {"system": "depth4"}, "a system that keeps their depth"),
        (towers | {"factor": 16}, "its patches span 8 pixels"),
        (towers | {"bert": str(tmp_path)}, "no text tower could be read there"),
    ):
        with pytest.raises(InputError, match=message):
            crossmodal(replace(settings, **changes, out=tmp_path / "run"))


def test_a_quantiser_of_other_layouts_is_refused(settings, model, tmp_path):
    with pytest.raises(InputError, match="with cells of 8 pixels, expected 32 and 16"):
        crossmodal(replace(settings, vq=model.parent / "vq" / "best", factor=16, out=tmp_path))


def test_a_kill_at_the_first_state_is_no_state(settings, tmp_path):
    run = replace(settings, out=tmp_path, resume=True)
    (run.out / "vq" / "state" / "step-00000003").mkdir(parents=True)
    (run.out / "state" / "step-00000004").mkdir(parents=True)
    assert (crossmodal(run) / "config.json").exists()


def test_words_of_any_script_are_drawn_and_told_to_be_unknown(segue, model, tmp_path):
    drawn = ("--model", str(model), "-o", str(tmp_path), "--num", "1", "--steps", "1", "--json")
    for caption in ("eine Katze 🐈 auf dem Gras", "!?", "a dog " * 60):
        status, out, _ = segue("draw", caption, *drawn)
        assert status == 0
        assert len(json.loads(out)["layouts"]) == 1
    status, _, error = segue("draw", " ", *drawn)
    assert (status, "got an empty one" in error) == (2, True)


@pytest.mark.parametrize(
    ("pixels", "mode", "said"),
    [
        (np.full((8, 6), 33, np.uint8), "L", "holds the ids 33"),
        (np.full((8, 6), 300, np.uint16), "I;16", "expected 8-bit class positions"),
        (np.full((8, 6, 3), 7, np.uint8), "RGB", "colours that no class has"),
    ],
)
def test_masks_that_mean_nothing_are_refused(segue, model, tmp_path, pixels, mode, said):
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    status, _, error = segue("caption-layout", str(tmp_path / "mask.png"), "--model", str(model))
    assert status == 2
    assert said in error
    assert error.count("\n") == 1
    keep = ("draw", "a dog", "--model", str(model), "--keep", str(tmp_path / "mask.png"), "-o", str(tmp_path / "out"))
    assert segue(*keep)[0] == 2
    assert not (tmp_path / "out").exists()


def test_a_colour_mask_with_its_own_palette(segue, model, tmp_path):
    Image.fromarray(np.full((5, 90, 3), (9, 8, 7), np.uint8)).save(tmp_path / "mask.png")
    tell = ("caption-layout", str(tmp_path / "mask.png"), "--model", str(model), "--palette", str(tmp_path / "palette.json"))
    for text, status, said in (
        ("[[1, 2, 3], [9, 8, 7]]", 0, ""),
        ("[[1, 2], [9, 8]]", 2, "one for each class"),
        ("[[1, 2, 300]]", 2, "no palette could be read"),
        ('{"dog": [1, 2, 3]}', 2, "no palette could be read"),
        ("nonsense", 2, "no palette could be read"),
    ):
        (tmp_path / "palette.json").write_text(text)
        found, _, error = segue(*tell)
        assert (found, said in error) == (status, True), text


def test_the_demo_draws_and_tells(model, tmp_path):
    page = layouts_section(tmp_path, model)
    pictures = sorted(tmp_path.glob("layout-*.png"))
    assert len(pictures) == len(SENTENCES) * EACH
    assert all(f'src="{picture.name}"' in page for picture in pictures)
