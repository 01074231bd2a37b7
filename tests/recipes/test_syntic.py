"""The training of captioners, from text to a checkpoint, with tiny models."""

import json
import shutil
from dataclasses import replace
from html import escape
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import segue as package
from scenes_and_encoder import write_scenes
from segue.api.models import about
from segue.data.formats import read_pictures
from segue.data.tokenizer import CaptionTokenizer
from segue.lab.tables.syntic_scenes import syntic_scenes_table
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.methods.syntic import SIZES, SYSTEMS, SynticConfig
from segue.options import Decoding
from segue.recipes import plan
from segue.recipes.plan import plan_training
from segue.recipes.syntic import (
    CC3M_ZEROSHOT,
    COCO,
    FLICKR30K,
    CaptionFeatures,
    Gap,
    NeighbourBatches,
    adjacent_groups,
    caption_batches,
    estimate_gap,
    gap_between,
    read_captioned,
    read_captions,
    train_syntic,
    train_syntic_cc3m_zeroshot,
    train_syntic_coco,
    train_syntic_flickr30k,
    train_syntic_scenes,
)
from segue.synthetic.scenes.language.parser import text_to_image
from segue.training import read_history
from segue.types import InputError
from tiny_captioner import captioner_home, quick_settings
from tiny_clip import write_clip
from tiny_detr import tiny_detr
from tiny_diffusion import write_diffusion
from tiny_dual_encoder import CAPTIONS


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return captioner_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def quick(home, tmp_path, monkeypatch):
    return quick_settings(home, tmp_path / "run", monkeypatch)


def test_a_captioner_learns_its_texts_and_generates_them_for_their_images(quick):
    """Trained to the end on four captions, it generates each for its own synthetic image."""
    settings = replace(quick, system="baseline", steps=100, lr=2e-2, weight_decay=0.0)
    captioner = package.load(train_syntic(settings))
    assert about(captioner.folder)["data"] == "mine.txt"
    pictures = sorted(settings.images.glob("*/*.png"))
    drawn = [json.loads(line)["caption"] for line in (settings.images / "pictures.jsonl").read_text().splitlines()]
    said = [one[0] for one in captioner.caption_many(pictures)]
    assert [c.text for c in said] == drawn
    assert sorted(drawn) == sorted(CAPTIONS)
    assert all(0.5 < c.likelihood <= 1 for c in said)


@pytest.mark.parametrize("system", [s for s in SYSTEMS if s not in ("clipre", "neighbours")])
def test_every_system_trains_from_a_plain_file_and_captions(quick, system):
    captioner = package.load(train_syntic(replace(quick, system=system)))
    assert captioner.checkpoint.model.config.fp == SYSTEMS[system]["fp"]
    assert len(captioner.checkpoint.support) == 4
    found = captioner.caption(text_to_image(CAPTIONS[:1])[0], options=Decoding(num=3, beams=1, max_tokens=5))
    assert len({c.text for c in found}) == 3
    assert all(0 < c.likelihood <= 1 for c in found)


def test_a_captioner_that_reads_its_neighbours_trains_and_captions(quick, home, monkeypatch):
    monkeypatch.setitem(SYSTEMS, "neighbours", SYSTEMS["neighbours"] | {"neighbours": 2})
    settings = replace(quick, system="neighbours", same_picture=1.0, label_smoothing=0.1, half=True)
    captioner = package.load(train_syntic(settings))
    config = captioner.checkpoint.model.config
    assert (config.neighbours, config.label_smoothing) == (2, 0.1)
    picture = text_to_image(CAPTIONS[:1])[0]
    assert captioner.caption(picture)[0].text
    with pytest.raises(InputError, match="support: got 1 captions, expected 2 or more"):
        captioner.with_support(CAPTIONS[:1]).caption(picture)
    with pytest.raises(InputError, match="support: got 4 captions, expected more than 2"):
        train_syntic(replace(settings, same_picture=-1.0, out=quick.out.with_name("one-picture")))


def test_captions_in_a_row_that_are_alike_are_of_one_picture():
    """0 and 1 are alike, 2 is not; 3 is like 2 but stands elsewhere in the file; never more than `longest`."""
    rows = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], np.float16)
    place = np.array([0, 1, 2, 4, 5])
    shuffled = np.array([3, 0, 4, 2, 1])
    group = adjacent_groups(rows[shuffled], place[shuffled], at_least=0.9)
    assert np.argsort(shuffled).tolist() == [1, 4, 3, 0, 2]
    assert group[np.argsort(shuffled)].tolist() == [0, 0, 1, 2, 2]
    assert adjacent_groups(rows[:2].repeat(3, 0), np.arange(6), 0.9, longest=4).tolist() == [0, 0, 0, 0, 1, 1]


def test_the_gap_is_that_of_its_pairs():
    """Of many draws of a known normal distribution; shrinkage keeps the trace."""
    rng = np.random.default_rng(0)
    mean, factor = np.array([0.3, -0.2]), np.array([[0.5, 0.0], [0.4, 0.2]])
    text = torch.from_numpy(rng.standard_normal((50_000, 2)))
    image = text + torch.from_numpy(mean + rng.standard_normal((50_000, 2)) @ factor.T)
    gap = estimate_gap(image, text, shrinkage=0.0)
    np.testing.assert_allclose(gap.mean, mean, atol=0.01)
    np.testing.assert_allclose(gap.factor, factor, atol=0.01)
    covariance = factor @ factor.T
    shrunk = estimate_gap(image, text, shrinkage=0.5).factor
    expected = 0.5 * covariance + 0.5 * np.eye(2) * np.trace(covariance) / 2
    np.testing.assert_allclose(shrunk @ shrunk.T, expected, atol=0.01)


def test_the_gap_of_a_data_set_is_that_of_its_validation_pictures(quick, tmp_path):
    data = write_scenes(tmp_path / "scenes")
    encoder = load_dual_encoder("scenes-encoder")
    pictures = read_pictures(data, "val").pictures
    captioned = read_captioned(replace(quick, gap=data), encoder)
    own = torch.cat([encoder.embed_images([picture.load()]) for picture in pictures])
    torch.testing.assert_close(captioned.v, own, atol=1e-3, rtol=0)  # kept as float16
    image = torch.cat([captioned.v[[i] * len(picture.captions)] for i, picture in enumerate(pictures)])
    text = encoder.embed_texts([caption for picture in pictures for caption in picture.captions])
    expected, gap = estimate_gap(image, text), gap_between(captioned, encoder, 0.1)
    np.testing.assert_allclose(gap.mean, expected.mean, atol=1e-6)
    np.testing.assert_allclose(gap.factor, expected.factor, atol=1e-6)
    assert gap_between(None, encoder, 0.1).factor.diagonal() == pytest.approx(0.1)


def test_captions_of_validation_pictures_are_scored_on_the_way(quick, tmp_path):
    """And CLOSE's shift is theirs, its noise the given one."""
    data = write_scenes(tmp_path / "scenes")
    folder = train_syntic(
        replace(quick, system="close", text_to_image="text", gap=data, noise=0.5, steps=4, evaluations=2)
    )
    assert sum("evaluate/cider" in row for row in read_history(quick.out)) == 2
    model = package.load(folder).checkpoint.model
    encoder = load_dual_encoder(quick.encoder)
    captioned = read_captioned(replace(quick, gap=data), encoder)
    captions = [caption for picture in captioned.pictures for caption in picture.captions]
    expected = captioned.v.mean(0) - encoder.embed_texts(captions).mean(0)
    torch.testing.assert_close(model.shift, expected, atol=1e-5, rtol=0)
    assert (model.config.noise, SYSTEMS["close"]["noise"]) == (0.5, 0.08)


def test_the_report_shows_captions_of_validation_pictures_where_there_are_any(quick, tmp_path):
    data = write_scenes(tmp_path / "scenes")
    train_syntic(replace(quick, system="decap", gap=data))
    page, pictures = (quick.out / "report/index.html").read_text(), read_pictures(data, "val").pictures
    assert f"{len(pictures)} of {len(pictures)} validation pictures" in page
    assert all(escape(caption) in page for picture in pictures for caption in picture.captions)
    train_syntic(replace(quick, system="decap", out=tmp_path / "texts"))
    assert "validation pictures" not in (tmp_path / "texts/report/index.html").read_text()


def test_neighbours_in_training_leave_the_own_picture_out(quick):
    """Each caption's twin is of its picture: neither is among its neighbours, nor in its projection."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((6, 8)).repeat(2, 0).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    captions = [f"a dog number {i}" for i in range(12)]
    features = CaptionFeatures(None, captions, rows.astype(np.float16), None, np.arange(12) // 2, (), None)
    config = SynticConfig(source="text", af=False, fo=False, neighbours=4, max_tokens=8, tau=0.02)
    silent = Gap(np.zeros(8, np.float32), np.zeros((8, 8), np.float32))
    batches = NeighbourBatches(features, CaptionTokenizer.learn(captions, size=300), config, quick, silent)
    batch, again = batches.collate([(0, 0), (0, 5)]), batches.collate([(0, 0), (0, 5)])
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    for i, index in enumerate((0, 5)):
        own = torch.from_numpy(rows[index])
        torch.testing.assert_close(batch["text"][i], own, atol=1e-3, rtol=0)
        others = torch.from_numpy(rows[np.arange(12) // 2 != index // 2])
        nearest = others[(others @ own).argsort(descending=True)[:4]]
        torch.testing.assert_close(batch["neighbours"][i], nearest, atol=1e-3, rtol=0)
        p = torch.nn.functional.normalize((others @ own / 0.02).softmax(0) @ others, dim=0)
        torch.testing.assert_close(batch["projected"][i], p, atol=2e-3, rtol=0)


def test_a_detector_finds_the_objects_of_training_and_of_captioning(quick, tmp_path):
    """And a search that was killed goes on where it was."""
    detr = str(tiny_detr(tmp_path / "detr", sees="cat"))
    settings = replace(quick, detector=detr, cache=tmp_path / "cache")
    captioner = package.load(train_syntic(settings))
    assert captioner.checkpoint.object_names == ("cat", "dog")
    picture = text_to_image(CAPTIONS[:1])[0]
    generated = captioner.caption(picture)
    assert generated == captioner.caption(picture, objects=["cat"])
    assert generated != captioner.caption(picture, objects=[])
    with pytest.raises(InputError, match="a detector finds them in pictures"):
        captioner.caption_features(np.ones((1, captioner.encoder.width)))

    (found,) = settings.cache.glob("detections-*.jsonl")
    whole = found.read_text()
    assert [json.loads(line)["labels"] for line in whole.splitlines()] == [
        ["cat"] * len(json.loads(whole.splitlines()[0])["labels"])
    ] * 4
    found.write_text(whole[: len(whole) // 2])
    again = package.load(train_syntic(replace(settings, out=tmp_path / "again")))
    assert found.read_text() == whole
    for name, x in captioner.checkpoint.model.state_dict().items():
        assert torch.equal(x, again.checkpoint.model.state_dict()[name]), name

    shutil.rmtree(detr)
    with pytest.raises(InputError, match=r"neither a folder.*say where it is: --detector"):
        package.load(tmp_path / "again" / "last")
    with pytest.raises(InputError, match="text_to_image text draws no images to look at"):
        train_syntic(replace(settings, text_to_image="text", out=tmp_path / "third"))


def test_a_captioner_with_a_detector_is_calibrated_on_pictures_too(quick, tmp_path, capsys):
    """The detector looks at the pictures whose features are kept."""
    data = write_scenes(tmp_path / "scenes")
    folder = train_syntic(replace(quick, detector=str(tiny_detr(tmp_path / "detr")), gap=data))
    assert "consensus" in json.loads((folder / "config.json").read_text())
    assert "its captions get no score: acceptance: got 0 accepted of 2" in capsys.readouterr().out


def test_a_run_shares_pictures_and_features_and_comes_to_the_same_weights(quick, tmp_path):
    first = package.load(train_syntic(quick))
    times = {p: p.stat().st_mtime_ns for p in quick.images.rglob("*.png")}
    again = package.load(train_syntic(replace(quick, out=tmp_path / "again")))
    assert times == {p: p.stat().st_mtime_ns for p in quick.images.rglob("*.png")}
    for name, x in first.checkpoint.model.state_dict().items():
        assert torch.equal(x, again.checkpoint.model.state_dict()[name]), name


def test_the_captions_of_a_data_set_come_with_the_numbers_of_their_pictures(home):
    corpus = read_captions(home / "scenes")
    assert set(corpus.group.tolist()) == set(range(6))
    assert len(corpus) > 20
    short = read_captions(home / "scenes", max_words=8)
    assert 0 < len(short) < len(corpus)
    assert max(len(c.split()) for c in short.captions) <= 8


def test_text_can_stand_in_for_pictures(quick, tmp_path):
    quick = replace(quick, text_to_image="text", system="full", images=tmp_path / "pictures")
    captioner = package.load(train_syntic(quick))
    assert not quick.images.exists()
    assert captioner.caption(text_to_image(CAPTIONS[:1])[0])[0].text


def test_features_are_optimised_once(quick, tmp_path):
    first = replace(quick, system="fo", cache=tmp_path / "features")
    train_syntic(first)
    (made,) = first.cache.glob("optimised-*.npy")
    time = made.stat().st_mtime_ns
    train_syntic(replace(first, out=tmp_path / "again", seed=1))
    assert [p.stat().st_mtime_ns for p in first.cache.glob("optimised-*.npy")] == [time]
    train_syntic(replace(first, out=tmp_path / "other", fo_steps=3))
    assert len(list(first.cache.glob("optimised-*.npy"))) == 2


def test_objects_are_looked_for_with_the_optimised_feature_or_with_the_one_of_the_picture(quick):
    """Eq. 5's query; the temperature of Eq. 2 makes other features, which are kept apart."""
    rng = np.random.default_rng(0)
    image, text, names = (rng.standard_normal((n, 8)).astype(np.float32) for n in (6, 6, 3))
    captions = [f"a dog number {i}" for i in range(6)]
    features = CaptionFeatures(
        SimpleNamespace(temperature=0.05), captions, text.astype(np.float16), image.astype(np.float16), np.arange(6),
        ("dog", "cat", "cow"), torch.from_numpy(names),
    )  # fmt: skip
    config = SynticConfig(fp=False, max_tokens=8)

    def columns(**changes):
        settings = replace(quick, fo_lr=0.1, **changes)
        return caption_batches(features, settings, config, CaptionTokenizer.learn(captions, size=300), None).columns

    moved, raw, cold = columns(), columns(raw_query=True), columns(fo_tau=0.5)
    assert torch.equal(moved["query"], moved["image"])
    assert torch.equal(raw["image"], moved["image"])
    torch.testing.assert_close(raw["query"], torch.from_numpy(image), atol=1e-2, rtol=1e-2)
    assert (moved["image"] - cold["image"]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no caption in it"),
        (b" \n\n", "no caption in it"),
        ("ein gr\u00fcner Ball".encode("latin-1"), "line 1: not UTF-8"),
        (b"a dog\n" + b"x" * 10_000_000, "line 2: longer than 1,048,576 bytes; is it a text file"),
        (b"quarterly results\nshareholder value\n", "the synthetic scenes can show none of 2 captions"),
    ],
)
def test_a_bad_corpus_is_refused(quick, tmp_path, segue, content, message):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        train_syntic(replace(quick, data=tmp_path / "bad.txt"))
    status, _, error = segue("train", "syntic", "--data", tmp_path / "bad.txt", "--encoder", quick.encoder)
    assert (status, message in error) == (2, True)


def test_other_bad_requests_are_refused(quick, home, tmp_path):
    with pytest.raises(InputError, match="retrieves captions and has nothing to train"):
        train_syntic(replace(quick, system="clipre"))
    with pytest.raises(InputError, match="text_to_image 'crayon': expected synthetic, text or diffusion:"):
        train_syntic(replace(quick, text_to_image="crayon"))
    with pytest.raises(InputError, match="pictures 0 and support"):
        train_syntic(replace(quick, pictures=0))
    with pytest.raises(InputError, match="draw it first: segue data make scenes"):
        train_syntic_scenes(replace(quick, data=tmp_path / "nowhere"))
    with pytest.raises(InputError, match="draw it: segue data make scenes"):
        (row := syntic_scenes_table()[0]).run(row.work(tmp_path / "table", tmp_path / "nowhere"))


def test_the_shared_settings_reach_the_training_loop(quick, monkeypatch):
    seen = []
    monkeypatch.setattr("segue.recipes.syntic.fit", lambda *_, options, **__: seen.append(options))
    shared = {"accumulate": 2, "clip_norm": 0.5, "workers": 1, "weight_decay": 0.3, "ema": 0.5, "seed": 9, "steps": 20}
    train_syntic(replace(quick, **shared, evaluations=4))
    assert {name: getattr(seen[0], name) for name in shared} == shared
    assert (seen[0].evaluate_every, seen[0].warmup) == (5, 2)
    with pytest.raises(InputError, match="patience: got 2, expected 0"):
        replace(quick, patience=2)


def test_worker_processes_make_the_same_batches(quick, tmp_path):
    first = package.load(train_syntic(quick)).checkpoint.model
    again = package.load(train_syntic(replace(quick, workers=1, out=tmp_path / "again"))).checkpoint.model
    for name, x in first.state_dict().items():
        assert torch.equal(x, again.state_dict()[name]), name


def test_a_data_set_with_a_missing_picture_is_refused_or_read_without_it(home, tmp_path):
    shutil.copytree(home / "scenes", tmp_path / "scenes")
    next((tmp_path / "scenes" / "images" / "train").glob("*.jpg")).unlink()
    with pytest.raises(InputError, match="no such picture"):
        read_captions(tmp_path / "scenes")
    whole = read_captions(home / "scenes")
    with pytest.warns(UserWarning, match="no such picture"):
        some = read_captions(tmp_path / "scenes", on_bad="skip")
    assert len(set(some.group.tolist())) == len(set(whole.group.tolist())) - 1


PAPER = {"coco": COCO, "flickr30k": FLICKR30K, "cc3m-zeroshot": CC3M_ZEROSHOT}


@pytest.mark.parametrize("system", ["full", "neighbours", "capdec"])
def test_a_plan_is_of_the_decoder_and_counts_the_pictures(quick, monkeypatch, system):
    settings = replace(quick, system=system, steps=3600, batch_size=8, text_to_image="diffusion:there-is-none")
    monkeypatch.setattr(plan, "recipe_settings", lambda _: settings)
    found = plan_training("syntic", settings.data)
    assert (found["pictures"], found["batch_of_a_process"]) == (len(CAPTIONS), 8)
    assert found.get("pictures_to_draw") == (len(CAPTIONS) if system == "full" else None)
    assert found["hours"] == pytest.approx(found["seconds_a_step"], abs=0.01)
    assert found["memory_gb"] > 0


@pytest.mark.parametrize(
    ("name", "tau", "max_words", "captions", "epochs"),
    [("coco", 0.01, 0, 566_747, 10), ("flickr30k", 0.0125, 0, 145_000, 10), ("cc3m-zeroshot", 0.01, 15, 1_000_000, 20)],
)
def test_the_papers_experiments_have_its_settings(name, tau, max_words, captions, epochs):
    """Its models, sampling and temperatures; DeCap's epochs, batch, rate and smoothing; no decay or EMA."""
    s = PAPER[name]
    assert (s.encoder, s.detector) == ("clip:openai/clip-vit-base-patch32", "facebook/detr-resnet-50@no_timm")
    assert s.text_to_image == "diffusion:stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert (s.diffusion_steps, s.diffusion_size, s.fo_lr, s.tau, s.max_words) == (20, 512, 1e-5, tau, max_words)
    assert (s.system, s.size, SIZES[s.size].width, SIZES[s.size].layers, SIZES[s.size].heads) == (
        "full", "faithful", 768, 4, 4,
    )  # fmt: skip
    assert (s.steps, s.batch_size) == (captions * epochs // 128, 128)
    assert (s.lr, s.label_smoothing, s.weight_decay, s.clip_norm, s.ema) == (1e-5, 0.1, 0.0, 0.0, 0.0)
    assert min(s.pictures, s.support) >= captions
    assert (s.out.name, s.images.name) == (f"syntic-{name}",) * 2


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory):
    """Stand-ins of the paper's models, in the formats of the hub, and a folder for what is computed with them once."""
    pytest.importorskip("diffusers")
    home = tmp_path_factory.mktemp("paper")
    (home / "clip").mkdir()
    write_clip(home / "clip")
    tiny_detr(home / "detr", sees="dog")
    write_diffusion(home / "diffusion", CAPTIONS)
    return home


def written_corpus(name, folder):
    """Two captions of each of two pictures to train on; a Karpathy json has a third that is for testing."""
    if name == "cc3m-zeroshot":
        rows = [*CAPTIONS[:4], "a caption of the web that has a great many more words than fifteen and is left out so"]
        (folder / "texts.tsv").write_text("".join(f"{c}\thttp://a.org/{i}.jpg\n" for i, c in enumerate(rows)))
        return folder / "texts.tsv"
    parts = [("train", CAPTIONS[:2]), ("restval", CAPTIONS[2:4]), ("test", ["never seen in training"])]
    images = [
        {"filename": f"{i}.jpg", "split": split, "sentences": [{"raw": c} for c in captions]}
        for i, (split, captions) in enumerate(parts)
    ]
    (folder / "dataset.json").write_text(json.dumps({"images": images}))
    return folder / "dataset.json"


@pytest.mark.parametrize(
    ("name", "train"),
    [
        ("coco", train_syntic_coco),
        ("flickr30k", train_syntic_flickr30k),
        ("cc3m-zeroshot", train_syntic_cc3m_zeroshot),
    ],
)
def test_the_papers_experiments_start_and_go_on(name, train, tiny_models, tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "faithful", SynticConfig(width=32, layers=1, heads=2))
    settings = replace(
        PAPER[name], out=tmp_path / "run", data=written_corpus(name, tmp_path), encoder=f"clip:{tiny_models / 'clip'}",
        detector=str(tiny_models / "detr"), text_to_image=f"diffusion:{tiny_models / 'diffusion'}", diffusion_steps=1,
        diffusion_size=64, diffusion_batch=3, images=tmp_path / "pictures", cache=tmp_path / "features",
        vocabulary=300, fo_steps=1, steps=1, batch_size=2, evaluations=1,
    )  # fmt: skip
    captioner = package.load(train(settings))
    assert sorted(captioner.checkpoint.support.captions) == sorted(CAPTIONS[:4])
    assert captioner.checkpoint.model.config.tau == settings.tau
    manifest = json.loads((settings.images / "manifest.json").read_text())["text_to_image"]
    assert [manifest[key] for key in ("steps", "size", "precision")] == [1, 64, "float32"]
    before = {key: x.clone() for key, x in captioner.checkpoint.model.state_dict().items()}
    again = package.load(train(replace(settings, steps=2, resume=True)))
    assert any(not torch.equal(x, before[key]) for key, x in again.checkpoint.model.state_dict().items())
    assert 0 < again.caption(text_to_image(CAPTIONS[:1])[0])[0].likelihood <= 1
    with pytest.raises(InputError, match=r"its pictures were drawn with .*64.*, got .*72"):
        train(replace(settings, diffusion_size=72, out=tmp_path / "other"))
