"""GroupViT against transformers' with copied weights, its losses against naive ones, and its checkpoints."""

import functools
import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from segue.methods.cocu.groupvit.checkpoint import from_hub_config, hub_config, load_groupvit, save_groupvit
from segue.methods.cocu.groupvit.config import SIZES, GroupViTConfig
from segue.methods.cocu.groupvit.layers import one_hot
from segue.methods.cocu.groupvit.losses import CLAIM, multi_label_loss, naming_loss
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import sized_for, train_tokenizer
from segue.methods.cocu.inference import group_maps
from segue.types import InputError

CAPTIONS = ["a dog on the grass", "a photo of a dog", "two cats under a red car", "the sky above a man"]
TINY = GroupViTConfig(
    width=32, mlp=64, depths=(2, 1, 1), group_tokens=(6, 3, 0), output_groups=(6, 3, 3), heads=2, image_size=224,
    patch=16, text_width=32, text_mlp=64, text_layers=2, text_heads=2, vocabulary=40, max_tokens=12, bos=1, eos=3,
    pad=0, projection=16, projection_hidden=24,
)  # fmt: skip


def make(config=TINY, seed=0, **changes):
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(CAPTIONS)
    model = GroupViT(replace(sized_for(config, tokenizer), **changes), tokenizer)
    for buffer in model.buffers():  # batch norm's, so that parity sees them
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return model


def batch(size=32, prompts=2):
    text = [[CAPTIONS[i % 4], *(f"a {word}" for word in ("dog", "sky", "car")[:prompts])] for i in range(4)]
    return {"image": torch.randn(4, 3, size, size), "text": text}


def named(prompts=2, **changes):
    """The same, told which prompts name the same."""
    return batch(prompts=prompts, **changes) | {
        "name": torch.arange(prompts).expand(4, -1),
        "known": torch.full((4, 2), -1),
    }


def theirs(model, folder):
    from transformers import GroupViTModel

    save_groupvit(model, folder)
    found, info = GroupViTModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return found.eval()


def test_paper_size_has_the_papers_parameters():
    with torch.device("meta"):
        model = GroupViT(GroupViTConfig())
    count = {
        name: sum(p.numel() for p in part.parameters()) / 1e6
        for name, part in (("all", model), ("vision", model.vision_model), ("text", model.text_model))
    }
    assert {name: round(value, 2) for name, value in count.items()} == {"all": 55.73, "vision": 28.84, "text": 22.15}


@pytest.mark.parametrize("changes", [{}, {"eos": 2}, {"token_mlp": 1.0, "assign_eps": 0.5, "activation": "quick_gelu"}])
@torch.no_grad()
def test_outputs_equal_transformers(tmp_path, changes):
    model = make().eval()
    if changes:
        model = GroupViT(replace(model.config, **changes)).eval()
    reference = theirs(model, tmp_path / "hub")
    image = torch.randn(2, 3, 224, 224)
    ids = torch.tensor([[1, 5, 7, 3, 0, 0], [1, 4, 6, 8, 9, 3]])
    if "eos" in changes:
        ids = torch.tensor([[1, 5, 7, 9, 0, 0], [1, 4, 6, 8, 5, 9]])  # the highest number ends a text
    found = reference(pixel_values=image, input_ids=ids, attention_mask=(ids > 0).long(), output_segmentation=True)
    close = functools.partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)
    close(model(image, ids), found.logits_per_image)
    close(model.embed_tokens(ids), found.text_embeds)
    seen = model.see(image)
    close(model.embed_seen(seen), found.image_embeds)
    close(seen.groups, found.vision_model_output.last_hidden_state)
    for mine, other in zip(seen.soft, found.vision_model_output.attentions, strict=True):
        close(mine, other)
    logits = torch.einsum("bgp,tp,bgrc->btrc", model.embed_groups(seen), found.text_embeds, group_maps(seen))
    up = F.interpolate(logits, size=(224, 224), mode="bilinear", align_corners=False)
    close(up, found.segmentation_logits / reference.logit_scale.exp() ** 2)  # it multiplies by the scale twice


@torch.no_grad()
def test_other_sizes_equal_transformers_parts_with_interpolated_positions(tmp_path):
    model = make().eval()
    vision = theirs(model, tmp_path / "hub").vision_model
    vision.embeddings.forward = functools.partial(vision.embeddings.forward, interpolate_pos_encoding=True)
    for height, width in ((448, 448), (96, 160)):
        image = torch.randn(1, 3, height, width)
        seen, found = model.see(image), vision(image, output_attentions=True)
        assert seen.grid == (height // 16, width // 16)
        torch.testing.assert_close(seen.groups, found.last_hidden_state, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(seen.soft[0], found.attentions[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_any_size_pads_with_the_last_pixels():
    model = make().eval()
    image = torch.randn(1, 3, 33, 50)
    padded = F.pad(image, (0, 14, 0, 15), mode="replicate")
    assert model.see(image).grid == (3, 4)
    torch.testing.assert_close(model.see(image).groups, model.see(padded).groups)
    assert model.see(torch.randn(1, 3, 5, 7)).grid == (1, 1)


@torch.no_grad()
def test_interpolated_positions_keep_a_plane():
    patches = make().vision_model.embeddings
    rows = torch.arange(14.0)[:, None].expand(14, 14)
    patches.position_embeddings.copy_(rows.flatten()[None, :, None].expand_as(patches.position_embeddings))
    large = patches.positions((28, 28))[0, :, 0].unflatten(0, (28, 28))
    assert torch.equal(patches.positions((14, 14)), patches.position_embeddings)
    torch.testing.assert_close(large[4:24, 3], (torch.arange(4.0, 24) + 0.5) / 2 - 0.5, atol=0.05, rtol=0)


def test_checkpoint_round_trip_both_ways(tmp_path):
    model = make(drop_path=0.3).eval()
    theirs(model, tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    ours, back = load_groupvit(tmp_path / "ours"), load_groupvit(tmp_path / "theirs")
    assert ours.config == model.config
    assert back.config == model.config  # transformers keeps what it doesn't know
    assert ours.tokenize(CAPTIONS).tolist() == model.tokenize(CAPTIONS).tolist()
    assert back.tokenizer is None
    for loaded in (ours, back):
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in loaded.state_dict().items())
    save_groupvit(model, tmp_path / "half", half=True, about={"recipe": "test"})
    assert json.loads((tmp_path / "half/config.json").read_text())["segue"]["about"] == {"recipe": "test"}
    torch.testing.assert_close(load_groupvit(tmp_path / "half").logit_scale, model.logit_scale, atol=1e-3, rtol=0)


def test_config_defaults_are_the_hubs():
    from transformers import GroupViTConfig as Theirs

    theirs = Theirs().to_dict()
    assert from_hub_config(theirs) == from_hub_config({"model_type": "groupvit"}) == GroupViTConfig()
    assert from_hub_config(hub_config(SIZES["scenes"])) == SIZES["scenes"]


def test_old_checkpoints_position_ids_are_ignored(tmp_path):
    from safetensors.torch import load_file, save_file

    save_groupvit(make(), tmp_path / "m")
    tensors = load_file(tmp_path / "m/model.safetensors")
    tensors["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    save_file(tensors, tmp_path / "m/model.safetensors")
    load_groupvit(tmp_path / "m")


def test_broken_checkpoints_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "m"
    save_groupvit(make(), folder)
    config, tensors = (folder / "config.json").read_text(), load_file(folder / "model.safetensors")

    def refused(match):
        with pytest.raises(InputError, match=match):
            load_groupvit(folder)

    name = "visual_projection.0.bias"
    save_file({k: v for k, v in tensors.items() if k != name}, folder / "model.safetensors")
    refused(f"lack 1 tensors, such as {name}")
    save_file(tensors | {"extra": torch.zeros(1)}, folder / "model.safetensors")
    refused("1 tensors too many, such as extra")
    save_file(tensors | {name: torch.zeros(3)}, folder / "model.safetensors")
    refused(r"has shape \(3,\), config.json describes \(24,\)")
    (folder / "config.json").write_text(config.replace('"groupvit"', '"clip"'))
    refused("a model of type 'clip', expected 'groupvit'")
    (folder / "config.json").write_text("{")
    refused("not readable as JSON")
    (folder / "config.json").write_text(config)
    (folder / "tokenizer.json").write_text("{}")
    refused("not a tokenizer")
    (folder / "config.json").unlink()
    refused("no such file")


def test_configs_that_cannot_be_are_refused():
    for changes, match in (
        ({"depths": (1, 1)}, "2 depths, 3 group_tokens"),
        ({"group_tokens": (6, 4, 2), "output_groups": (6, 3, 2)}, "stage 1: got 4 group tokens and 3 output groups"),
        ({"heads": 5}, "no multiple of 5 heads"),
        ({"image_size": 225}, "no multiple of patch"),
        ({"activation": "relu"}, "expected one of gelu, quick_gelu"),
    ):
        with pytest.raises(InputError, match=match):
            replace(TINY, **changes)


@pytest.mark.parametrize("told", [batch, named])
def test_gradients_reach_every_parameter(told):
    model = make(image_size=32, patch=8, drop_path=0.0).train()
    model.training_step(told())["loss"].backward()
    cancel = ("k_proj.bias", "assign.q_proj.bias", "projection.0.bias")  # a softmax or a batch norm takes them out
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith(cancel):
            assert parameter.grad.abs().sum() > 0, name


def test_training_step_terms():
    model = make(image_size=32, patch=8)
    terms = model.training_step(batch(prompts=3))
    assert list(terms) == ["loss", "caption", "prompts"]
    torch.testing.assert_close(terms["loss"], terms["caption"] + terms["prompts"])
    assert list(model.training_step(batch(prompts=0))) == ["loss", "caption"]
    uneven = batch()
    uneven["text"][1] = ["a dog"]
    with pytest.raises(InputError, match="the same K for all"):
        model.training_step(uneven)


def test_a_step_reads_repeated_prompts_once_and_loses_nothing():
    model = make(image_size=32, patch=8, drop_path=0.0).eval()
    pictures = batch(prompts=3)
    pictures["text"] = [[row[0], "a dog", "a dog", row[1]] for row in pictures["text"]]
    told = model.embed_texts([text for row in pictures["text"] for text in row]).unflatten(0, (-1, 4))
    shown = model.embed_seen(model.see(pictures["image"]))
    wanted = sum(multi_label_loss(shown, part, model.scale) for part in (told[:, :1], told[:, 1:]))
    read = []
    model.text_model.register_forward_hook(lambda _, args, out: read.append(len(out)))
    torch.testing.assert_close(model.training_step(pictures)["loss"], wanted, atol=1e-5, rtol=1e-5)
    assert read == [len({row[0] for row in pictures["text"]}), len({t for row in pictures["text"] for t in row[1:]})]


def naive_multi_label(images, texts, scale):
    count, each = len(images), texts.shape[1]
    loss = 0.0
    for i in range(count):
        every = [[math.exp(scale * float(images[i] @ texts[j, m])) for m in range(each)] for j in range(count)]
        loss -= math.log(sum(every[i]) / sum(map(sum, every))) / count / 2
        for m in range(each):
            others = [math.exp(scale * float(images[j] @ texts[i, m])) for j in range(count)]
            loss -= math.log(others[i] / sum(others)) / (count * each) / 2
    return loss


@pytest.mark.parametrize("each", [1, 3])
def test_multi_label_loss_is_the_papers(each):
    torch.manual_seed(each)
    images, texts = F.normalize(torch.randn(5, 8), dim=-1), F.normalize(torch.randn(5, each, 8), dim=-1)
    assert float(multi_label_loss(images, texts, 4.0)) == pytest.approx(naive_multi_label(images, texts, 4.0), abs=1e-5)
    if each == 1:
        s, own = 4 * images @ texts[:, 0].T, torch.arange(5)
        clip = (F.cross_entropy(s, own) + F.cross_entropy(s.T, own)) / 2
        torch.testing.assert_close(multi_label_loss(images, texts, 4.0), clip)


NOTHING = torch.tensor([[-1]])


def naive_naming(groups, shares, texts, names, known, scale):
    """-log p, name by name and group by group."""
    different = sorted({n for row in names for n in row if n >= 0})
    places = {}
    for c in different:
        mean = sum(texts[i, m] for i, row in enumerate(names) for m, n in enumerate(row) if n == c)
        places[c] = mean / mean.norm()
    of_pictures = []
    for i, row in enumerate(names):
        mine = {n for n in [*row, *known[i]] if n in different}
        said = []
        for group in groups[i]:
            weight = {n: math.exp(scale * float(group @ places[n])) for n in different}
            said.append({n: value / sum(weight.values()) for n, value in weight.items()})
        if mine:
            claims = [
                {c: float(a) ** CLAIM * p for c, p in one.items()} for a, one in zip(shares[i], said, strict=True)
            ]
            of_names = sum(math.log(max(one[c] for one in claims)) for c in mine) / len(mine)
            held = (sum(one[c] for c in mine) for one in said)
            of_pixels = sum(float(a) * math.log(p) for a, p in zip(shares[i], held, strict=True))
            of_pictures.append(-of_names - of_pixels)
    return sum(of_pictures) / len(of_pictures)


def test_the_naming_loss_asks_names_of_groups_and_groups_of_pixels():
    torch.manual_seed(0)
    groups, texts = F.normalize(torch.randn(4, 3, 8), dim=-1), F.normalize(torch.randn(4, 3, 8), dim=-1)
    names = [[5, 2, 2], [7, 5, 9], [-1, -1, -1], [2, 0, -1]]  # one twice in a picture, one shared, one without any
    known = [[-1, -1], [7, 2], [-1, -1], [6, -1]]  # one of its own, one of others', one of nobody's
    shares = torch.randn(4, 3).softmax(1)
    loss = naming_loss(groups, shares, texts, torch.tensor(names), torch.tensor(known), 4.0)
    assert float(loss) == pytest.approx(naive_naming(groups, shares, texts, names, known, 4.0), abs=1e-5)
    nothing = naming_loss(groups.requires_grad_(), shares, texts, torch.full((4, 3), -1), torch.full((4, 2), -1), 4.0)
    nothing.backward()
    assert nothing.item() == 0


def test_a_name_that_two_pictures_share_is_true_of_both():
    sky, dog = F.one_hot(torch.tensor([0, 1]), 8).float()
    groups, texts = torch.stack([sky, dog])[None].expand(2, -1, -1), torch.stack([sky, dog])[None].expand(2, -1, -1)
    names, half = torch.tensor([[0, 1], [0, 1]]), torch.full((2, 2), 0.5)
    assert float(naming_loss(groups, half, texts, names, NOTHING, 50.0)) == pytest.approx(CLAIM * math.log(2), abs=1e-4)
    shown = F.normalize(groups.mean(1), dim=-1)
    assert float(multi_label_loss(shown, texts, 50.0)) > math.log(2) * 0.99  # the papers' can't tell the two apart


def test_groups_that_are_one_thing_are_better_than_one_that_is_all_or_one_without_pixels():
    sky, dog = F.one_hot(torch.tensor([0, 1]), 8).float()
    texts, names = torch.stack([sky, dog])[None], torch.tensor([[0, 1]])
    mixed = F.normalize(sky + dog, dim=0).expand(1, 2, -1)
    half, whole = torch.full((1, 2), 0.5), torch.tensor([[1.0, 0.0]])
    apart = float(naming_loss(texts, half, texts, names, NOTHING, 50.0))
    assert apart == pytest.approx(CLAIM * math.log(2), abs=1e-4)
    assert float(naming_loss(mixed, whole, texts, names, NOTHING, 50.0)) == pytest.approx(math.log(2), abs=1e-4)
    assert float(naming_loss(texts, whole, texts, names, NOTHING, 50.0)) > math.log(2)


def test_what_a_picture_is_known_to_show_is_true_of_it_though_only_another_draws_it():
    sky, dog = F.one_hot(torch.tensor([0, 1]), 8).float()
    groups, texts = torch.stack([sky, dog]).expand(2, -1, -1), torch.stack([sky, dog])[:, None]
    names, half = torch.tensor([[0], [1]]), torch.full((2, 2), 0.5)
    unknown = float(naming_loss(groups, half, texts, names, NOTHING, 50.0))
    assert float(naming_loss(groups, half, texts, names, torch.tensor([[1], [0]]), 50.0)) < unknown / 10


def test_pixels_go_to_groups_that_have_one_of_the_names():
    sky, dog = F.one_hot(torch.tensor([0, 1]), 8).float()
    groups, texts = torch.stack([sky, dog]).expand(2, -1, -1), torch.stack([sky, dog])[:, None]
    shares = torch.full((2, 2), 0.5, requires_grad=True)
    naming_loss(groups, shares, texts, torch.tensor([[0], [1]]), NOTHING, 50.0).backward()
    assert shares.grad is not None
    assert (shares.grad.argmin(1) == torch.tensor([0, 1])).all()


def test_shares_are_those_of_the_maps():
    seen = make(image_size=32, patch=8).eval().see(torch.randn(2, 3, 32, 48))
    assert torch.allclose(seen.shares(), group_maps(seen).mean((2, 3)), atol=1e-6)
    assert torch.allclose(seen.shares().sum(1), torch.ones(2), atol=1e-5)


def test_noise_and_drop_path_in_training_only():
    model, image = make(image_size=32, patch=8, drop_path=0.5), torch.randn(2, 3, 32, 32)
    model.eval()
    assert torch.equal(model.see(image).groups, model.see(image).groups)
    model.train()
    assert not torch.equal(model.see(image).groups, model.see(image).groups)


def test_drop_path_keeps_the_mean_and_rises_with_depth():
    model = make(drop_path=0.3)
    layers = [layer for stage in model.vision_model.encoder["stages"] for layer in stage.layers]
    assert [round(layer.drop, 4) for layer in layers] == [0.0, 0.1, 0.2, 0.3]
    assert {layer.drop for layer in model.text_model.encoder["layers"]} == {0.0}
    torch.manual_seed(0)
    dropped = layers[3].train()._dropped(torch.ones(20_000, 1, 1))
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0, 1 / 0.7])


@pytest.mark.parametrize("size", ["paper", "scenes"])
@torch.no_grad()
def test_initialisation_uses_the_groups_and_tells_pictures_apart(size):
    torch.manual_seed(0)
    model = GroupViT(replace(SIZES[size], text_layers=1, vocabulary=10, bos=1, eos=3))
    seen = model.eval().see(torch.randn(4, 3, 96, 96))
    used = [one_hot(soft).sum((0, 2)).count_nonzero().item() for soft in seen.soft]
    assert used[0] >= 16
    assert used[1] >= 4
    model.train()
    shown = model.embed_seen(model.see(torch.randn(8, 3, 96, 96)))
    assert (shown @ shown.T - torch.eye(8)).abs().max() < 0.9


def test_scale_never_passes_100():
    model = make()
    torch.nn.init.constant_(model.logit_scale, 9.0)
    assert model.scale.item() == pytest.approx(100)


def test_tokenizer_is_of_whole_words_in_any_order():
    a, b = train_tokenizer(CAPTIONS), train_tokenizer(CAPTIONS[::-1])
    assert a.to_str() == b.to_str()
    assert a.encode("A DOG,\nnaïve").tokens == ["[BOS]", "a", "dog", "[UNK]", "[UNK]", "[EOS]"]
    assert train_tokenizer(CAPTIONS, limit=6).get_vocab_size() == 6
    with pytest.raises(InputError, match="no word"):
        train_tokenizer(["", " \n"])


def test_texts_are_padded_cut_and_checked():
    model = make(max_tokens=6)
    ids = model.tokenize(["dog", "a dog on the grass above a man"])
    assert ids.shape == (2, 6)
    assert ids[0, 2:].tolist() == [3, 0, 0, 0]
    assert ids[1, -1] == 3
    with pytest.raises(InputError, match="expected words"):
        model.tokenize(["dog", " \n"])
    with pytest.raises(InputError, match="without a tokenizer"):
        GroupViT(TINY).tokenize(["dog"])


def test_a_foreign_tokenizer_is_refused():
    with pytest.raises(InputError, match="ends a text with token 3, the model expects 7"):
        GroupViT(replace(TINY, eos=7), train_tokenizer(CAPTIONS))
    with pytest.raises(InputError, match="tokens, the model 5"):
        GroupViT(replace(TINY, vocabulary=5), train_tokenizer(CAPTIONS))


@torch.no_grad()
def test_padding_a_text_changes_nothing():
    model = make().eval()
    alone = model.embed_texts(["a dog"])
    torch.testing.assert_close(model.embed_texts(["a dog", CAPTIONS[2]])[:1], alone, atol=1e-6, rtol=1e-5)


def test_a_step_in_bfloat16_is_finite():
    model = make(image_size=32, patch=8).train()
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.training_step(batch())
    terms["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


class Coloured:
    """Eight pictures of one colour each, whose captions and prompts name it."""

    words = ("dog", "grass", "photo", "cats", "red", "car", "sky", "man")

    def __len__(self):
        return 8

    def collate(self, keys):
        colours = torch.randn(8, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(8, 3, 32, 32)
        rows = [index for _, index in keys]
        return {"image": colours[rows].clone(), "text": [[f"a {self.words[i]}", f"the {self.words[i]}"] for i in rows]}


def test_the_loop_trains_it_and_its_checkpoint_knows_the_pictures(tmp_path, monkeypatch):
    from segue.training import FitOptions, fit

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    model, data = make(image_size=32, patch=8, drop_path=0.0), Coloured()
    options = FitOptions(steps=40, batch_size=8, lr=3e-3, warmup=5, ema=0.5, clip_norm=5.0, evaluate_every=40)
    result = fit(model, data, out=tmp_path / "run", options=options, monitor="right",
                 save=lambda m, folder: save_groupvit(m, folder / "model"),
                 evaluate=lambda m: {"right": 0.0})  # fmt: skip
    losses = [row["train/loss"] for row in result.history if "train/loss" in row]
    assert losses[-1] < 0.3 * losses[0]
    found = load_groupvit(tmp_path / "run/last/model")
    whole = data.collate([(0, i) for i in range(8)])
    with torch.no_grad():
        logits = found(whole["image"], found.tokenize([row[0] for row in whole["text"]]))
    assert (logits.argmax(1) == torch.arange(8)).float().mean() >= 0.75


def test_clips_vocabulary_files_stand_in_for_tokenizer_json(tmp_path):
    save_groupvit(GroupViT(replace(TINY, vocabulary=12, bos=10, eos=11)), tmp_path / "m")
    tokens = [
        "a",
        "d",
        "o",
        "g",
        "a</w>",
        "d</w>",
        "o</w>",
        "g</w>",
        "do",
        "dog</w>",
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    (tmp_path / "m/vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (tmp_path / "m/merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n")
    assert load_groupvit(tmp_path / "m").tokenize(["A dog"]).tolist() == [[10, 4, 9, 11]]
