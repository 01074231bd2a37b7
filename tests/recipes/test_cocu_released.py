"""The released settings of CoCu: an epoch of tiny shards, their schedule, and what `segue data plan` tells of them."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from methods.cocu.groupvit.released_network import VOCABULARY, write_merges
from scenes_and_encoder import write_encoder
from segue.api.open_vocabulary import load_open_vocabulary
from segue.methods.cocu.groupvit.config import SIZES, GroupViTConfig
from segue.methods.cocu.templates import IMAGENET_TEMPLATES
from segue.recipes import RECIPES, plan
from segue.recipes import cocu as recipe
from segue.recipes.cocu import RELEASED, CocuBatches, build_model, prepare_training, train_cocu_cc3m, training_options
from segue.recipes.plan import PLANNERS, plan_training
from segue.types import InputError

WORDS = ("dog", "cat", "grass", "sky", "car", "ball", "tree", "bird")
TINY = GroupViTConfig(
    width=16, mlp=32, depths=(1, 1), group_tokens=(6, 0), output_groups=(6, 6), heads=2, image_size=16, patch=8,
    text_width=16, text_mlp=32, text_layers=1, text_heads=2, max_tokens=24, projection=16, projection_hidden=32,
    drop_path=0.0, vocabulary=VOCABULARY,
)  # fmt: skip


def write_shards(folder, pictures, in_shard):
    """Shards as img2dataset leaves them: jpg, txt and json of each key, beside a parquet and the statistics."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(pictures // in_shard):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for i in range(in_shard):
                key, buffer = f"{number:05d}{i:04d}", io.BytesIO()
                two = rng.choice(WORDS, 2, replace=False)
                pixels = np.full((24, 20, 3), 30 * WORDS.index(two[0]), np.uint8) + rng.integers(
                    0, 20, (24, 20, 3), np.uint8
                )
                Image.fromarray(pixels).save(buffer, "JPEG")
                caption = f"a {two[0]} and a {two[1]}"
                about = json.dumps({"caption": caption, "key": key, "status": "success", "url": "http://x/y.jpg"})
                for end, data in (("jpg", buffer.getvalue()), ("txt", caption.encode()), ("json", about.encode())):
                    head = tarfile.TarInfo(f"{key}.{end}")
                    head.size = len(data)
                    tar.addfile(head, io.BytesIO(data))
        (folder / f"{number:05d}_stats.json").write_text('{"count": 1}')
        (folder / f"{number:05d}.parquet").write_bytes(b"PAR1")
    return folder


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "paper", TINY)
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    home = tmp_path_factory.mktemp("released")
    return replace(
        RELEASED, out=home / "run", data=write_shards(home / "shards", 2000, 500), curated=home / "curated",
        encoder=str(write_encoder(home / "pair")), tokenizer=str(write_merges(home / "merges.txt")), epochs=1,
        batch_size=100, evaluations=1,
    )  # fmt: skip


def test_an_epoch_of_two_thousand_pictures_from_shards(settings):
    folder = train_cocu_cc3m(settings)
    history = [json.loads(line) for line in (settings.out / "history.jsonl").read_text().splitlines()]
    assert len(history) == 20  # 2,000 pictures, 100 a step
    assert history[-1]["lr"] < history[0]["lr"] == pytest.approx(1.6e-3 * 100 / 4096)
    assert history[-1]["lr"] > 4e-5 * 100 / 4096
    losses = [row["train/loss"] for row in history]
    assert np.isfinite(losses).all()
    assert history[0]["train/prompts"] > history[0]["train/caption"]  # three prompts, each of which must fit
    model = load_open_vocabulary(folder)
    assert model.model.tokenizer.get_vocab_size() == VOCABULARY
    assert model.about["system"] == "top3"
    assert "dog" in model.about["concept_vocabulary"]
    with pytest.raises(InputError, match="pass --resume"):
        train_cocu_cc3m(settings)


def test_a_batch_has_the_caption_and_three_prompts_of_eighty(settings):
    corpus, archive = prepare_training(settings)
    batches = CocuBatches(corpus, archive, settings, build_model(settings, corpus, ()))
    batch = batches.collate([(0, i) for i in range(50)])
    assert batch["image"].shape == (50, 3, 16, 16)
    assert set(batch) == {"image", "text"}
    beginnings = {template.partition("{}")[0] for template in IMAGENET_TEMPLATES}
    for texts in batch["text"]:
        assert len(texts) == 4
        prompts = [text for text in texts[1:] if text != texts[0]]
        assert all(any(text.startswith(one) for one in beginnings) for text in prompts)
        assert len(set(prompts)) == len(prompts)  # nothing is repeated: the caption fills what is free
    again = batches.collate([(0, i) for i in range(50)])
    torch.testing.assert_close(batch["image"], again["image"])
    assert not torch.equal(batch["image"], batches.collate([(1, i) for i in range(50)])["image"])


def test_there_are_eighty_templates():
    assert len(set(IMAGENET_TEMPLATES)) == 80
    assert all(template.count("{}") == 1 for template in IMAGENET_TEMPLATES)
    assert {"a photo of a {}.", "itap of my {}.", "a photo of many {}.", "the {} in a video game."} <= set(
        IMAGENET_TEMPLATES
    )


def test_the_schedule_is_the_released_one():
    options = training_options(RELEASED, 2_751_755)
    assert options.steps == 30 * 2_751_755 // 4096
    assert options.warmup == options.steps // 15  # two of thirty epochs
    assert (options.lr, options.first_lr, options.last_lr) == (1.6e-3, 4e-6, 4e-5)
    assert (options.weight_decay, options.clip_norm, options.ema) == (0.05, 5.0, 0.0)
    half = training_options(replace(RELEASED, batch_size=2048), 2_751_755)
    assert (half.lr, half.last_lr) == (8e-4, 2e-5)
    assert training_options(recipe.COCU, 500).steps == recipe.COCU.steps


def test_the_plan_grows_with_the_batch_and_shrinks_with_the_processes(settings, segue, monkeypatch):
    assert set(PLANNERS) <= set(RECIPES)
    monkeypatch.setattr(plan, "recipe_settings", lambda _: replace(settings, epochs=30))
    one = plan_training("cocu-cc3m", settings.data)
    four = plan_training("cocu-cc3m", settings.data, processes=4)
    assert (one["pictures"], one["steps"], one["batch_of_a_process"]) == (2000, 600, 100)
    assert four["batch_of_a_process"] == 25
    assert four["memory_gb"] < one["memory_gb"]
    assert one["hours"] == pytest.approx(one["seconds_a_step"] * 600 / 3600, abs=0.02)
    status, output, error = segue("data", "plan", settings.data, "--recipe", "cocu-cc3m", "--processes", 3)
    assert (status, "batch of 100 pictures can't be divided" in error) == (2, True)
    status, output, error = segue("data", "plan", settings.data, "--recipe", "cocu-cc3m", "--workers", 2, "--json")
    assert status == 0, error
    assert json.loads(output)["recipe"] == "cocu-cc3m"
    status, _, error = segue("data", "plan", settings.data, "--recipe", "relations")
    assert (status, "no plan can be made of it" in error) == (2, True)
