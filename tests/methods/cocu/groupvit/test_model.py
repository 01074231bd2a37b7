"""GroupViT against transformers' with copied weights, and its training step."""

import functools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import golden
from methods.cocu.groupvit.tiny_groupvit import CAPTIONS, TINY, concept_batch, make_model, plain_batch, reference_of
from segue.methods.cocu.groupvit.checkpoint import load_groupvit, save_groupvit
from segue.methods.cocu.groupvit.config import SIZES, GroupViTConfig
from segue.methods.cocu.groupvit.layers import one_hot
from segue.methods.cocu.groupvit.losses import multi_label_loss
from segue.methods.cocu.groupvit.model import GroupViT
from segue.methods.cocu.groupvit.tokenizer import train_tokenizer
from segue.methods.cocu.inference import group_maps
from segue.types import InputError


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
    model = make_model().eval()
    if changes:
        model = GroupViT(replace(model.config, **changes)).eval()
    reference = reference_of(model, tmp_path / "hub")
    image = torch.randn(2, 3, 224, 224)
    ids = torch.tensor([[1, 5, 7, 3, 0, 0], [1, 4, 6, 8, 9, 3]])
    if "eos" in changes:
        ids = torch.tensor([[1, 5, 7, 9, 0, 0], [1, 4, 6, 8, 5, 9]])  # the highest number ends a text
    found = reference(pixel_values=image, input_ids=ids, attention_mask=(ids > 0).long(), output_segmentation=True)
    close = functools.partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)
    close(model(image, ids), found.logits_per_image)
    close(model.embed_tokens(ids), found.text_embeds)
    vision = model.encode_image(image)
    close(model.embed_image(vision), found.image_embeds)
    close(vision.groups, found.vision_model_output.last_hidden_state)
    for mine, other in zip(vision.assignments, found.vision_model_output.attentions, strict=True):
        close(mine, other)
    logits = torch.einsum("bgp,tp,bgrc->btrc", model.embed_groups(vision), found.text_embeds, group_maps(vision))
    up = F.interpolate(logits, size=(224, 224), mode="bilinear", align_corners=False)
    close(up, found.segmentation_logits / reference.logit_scale.exp() ** 2)  # it multiplies by the scale twice


@torch.no_grad()
def test_other_sizes_equal_transformers_parts_with_interpolated_positions(tmp_path):
    model = make_model().eval()
    reference = reference_of(model, tmp_path / "hub").vision_model
    reference.embeddings.forward = functools.partial(reference.embeddings.forward, interpolate_pos_encoding=True)
    for height, width in ((448, 448), (96, 160)):
        image = torch.randn(1, 3, height, width)
        vision, found = model.encode_image(image), reference(image, output_attentions=True)
        assert vision.grid == (height // 16, width // 16)
        torch.testing.assert_close(vision.groups, found.last_hidden_state, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(vision.assignments[0], found.attentions[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_any_size_pads_with_the_last_pixels():
    model = make_model().eval()
    image = torch.randn(1, 3, 33, 50)
    padded = F.pad(image, (0, 14, 0, 15), mode="replicate")
    assert model.encode_image(image).grid == (3, 4)
    torch.testing.assert_close(model.encode_image(image).groups, model.encode_image(padded).groups)
    assert model.encode_image(torch.randn(1, 3, 5, 7)).grid == (1, 1)


@torch.no_grad()
def test_interpolated_positions_keep_a_plane():
    patches = make_model().vision_model.embeddings
    rows = torch.arange(14.0)[:, None].expand(14, 14)
    patches.position_embeddings.copy_(rows.flatten()[None, :, None].expand_as(patches.position_embeddings))
    large = patches.interpolated_positions((28, 28))[0, :, 0].unflatten(0, (28, 28))
    assert torch.equal(patches.interpolated_positions((14, 14)), patches.position_embeddings)
    torch.testing.assert_close(large[4:24, 3], (torch.arange(4.0, 24) + 0.5) / 2 - 0.5, atol=0.05, rtol=0)


@pytest.mark.parametrize("make_batch", [plain_batch, concept_batch])
def test_gradients_reach_every_parameter(make_batch):
    model = make_model(image_size=32, patch=8, drop_path=0.0).train()
    model.training_step(make_batch())["loss"].backward()
    cancel = ("k_proj.bias", "assign.q_proj.bias", "projection.0.bias")  # a softmax or a batch norm takes them out
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith(cancel):
            assert parameter.grad.abs().sum() > 0, name


def test_training_step_terms():
    model = make_model(image_size=32, patch=8)
    terms = model.training_step(plain_batch(prompts=3))
    assert list(terms) == ["loss", "caption", "prompts"]
    torch.testing.assert_close(terms["loss"], terms["caption"] + terms["prompts"])
    assert list(model.training_step(plain_batch(prompts=0))) == ["loss", "caption"]
    uneven = plain_batch()
    uneven["text"][1] = ["a dog"]
    with pytest.raises(InputError, match="the same K for all"):
        model.training_step(uneven)


def test_a_step_reads_repeated_prompts_once_and_loses_nothing():
    model = make_model(image_size=32, patch=8, drop_path=0.0).eval()
    pictures = plain_batch(prompts=3)
    pictures["text"] = [[row[0], "a dog", "a dog", row[1]] for row in pictures["text"]]
    texts = model.embed_texts([text for row in pictures["text"] for text in row]).unflatten(0, (-1, 4))
    shown = model.embed_image(model.encode_image(pictures["image"]))
    wanted = sum(multi_label_loss(shown, part, model.scale) for part in (texts[:, :1], texts[:, 1:]))
    read = []
    model.text_model.register_forward_hook(lambda _, args, out: read.append(len(out)))
    torch.testing.assert_close(model.training_step(pictures)["loss"], wanted, atol=1e-5, rtol=1e-5)
    assert read == [len({row[0] for row in pictures["text"]}), len({t for row in pictures["text"] for t in row[1:]})]


def test_shares_are_those_of_the_maps():
    vision = make_model(image_size=32, patch=8).eval().encode_image(torch.randn(2, 3, 32, 48))
    assert torch.allclose(vision.group_shares(), group_maps(vision).mean((2, 3)), atol=1e-6)
    assert torch.allclose(vision.group_shares().sum(1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("size", ["paper", "scenes"])
@torch.no_grad()
def test_initialisation_uses_the_groups_and_tells_pictures_apart(size):
    torch.manual_seed(0)
    model = GroupViT(replace(SIZES[size], text_layers=1, vocabulary=10, bos=1, eos=3))
    vision = model.eval().encode_image(torch.randn(4, 3, 96, 96))
    used = [one_hot(soft).sum((0, 2)).count_nonzero().item() for soft in vision.assignments]
    assert used[0] >= 16
    assert used[1] >= 4
    model.train()
    shown = model.embed_image(model.encode_image(torch.randn(8, 3, 96, 96)))
    assert (shown @ shown.T - torch.eye(8)).abs().max() < 0.9


def test_scale_never_passes_100():
    model = make_model()
    torch.nn.init.constant_(model.logit_scale, 9.0)
    assert model.scale.item() == pytest.approx(100)


def test_texts_are_padded_cut_and_checked():
    model = make_model(max_tokens=6)
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
    model = make_model().eval()
    alone = model.embed_texts(["a dog"])
    torch.testing.assert_close(model.embed_texts(["a dog", CAPTIONS[2]])[:1], alone, atol=1e-6, rtol=1e-5)


def test_a_step_in_bfloat16_is_finite():
    model = make_model(image_size=32, patch=8).train()
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.training_step(plain_batch())
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
    model, data = make_model(image_size=32, patch=8, drop_path=0.0), Coloured()
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


@torch.no_grad()
def test_weights_mean_what_they_meant():
    model = golden.set_weights(make_model()).eval()
    found = {"texts": model.embed_texts(["a dog", "the sky above a man", "a dog"])}
    for size in ((32, 32), (40, 224), (224, 224)):  # padded, interpolated, as it was trained
        vision = model.encode_image(golden.inputs("image", 2, 3, *size))
        found |= {f"image_{size[1]}_{size[0]}": model.embed_image(vision), f"share_{size}": vision.group_shares()}
        found[f"hard_{size}"] = vision.patch_assignment(soft=False)
        found[f"groups_{size}"] = model.embed_groups(vision)
    ids = model.tokenize(["a photo of a dog", "the sky"])
    found["logits"] = model(golden.inputs("image", 2, 3, 32, 32), ids)
    golden.same_as_before("groupvit", **found)


def test_losses_are_what_they_were():
    for name, batch in (("plain", plain_batch()), ("concepts", concept_batch())):
        model = golden.set_weights(make_model())
        torch.manual_seed(0)
        terms = model.training_step(batch | {"image": golden.inputs("image", 4, 3, 32, 32)})
        golden.same_as_before(f"groupvit training {name}", **terms)


def test_fresh_weights_are_spread_as_they_were():
    model = make_model()
    spreads = [float(p.detach().std()) for _, p in sorted(model.named_parameters()) if p.ndim > 1]
    golden.same_as_before("groupvit fresh", spreads=spreads, scale=model.scale)
