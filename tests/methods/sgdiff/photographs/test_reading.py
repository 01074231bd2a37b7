"""From graphs to the network's inputs."""

import numpy as np
import torch

from segue.methods.sgdiff.graph import SceneGraph
from segue.methods.sgdiff.photographs.network import POINTS, appearance
from segue.methods.sgdiff.photographs.reading import encode_names, node_order, pixels_of_rgb, relations_of_prompt
from segue.types import Relation
from tiny_photographs import CONFIG, tiny_reader

BOXES = np.array([[0, 0, 10, 10], [20, 0, 8, 8], [40, 0, 20, 20], [60, 0, 4, 4]], np.float32)
GRAPH = SceneGraph(("dog", "man", "tree", "ball"), BOXES, (Relation(3, "near", 1), Relation(1, "with", 0)), (100, 50))


def test_the_prompts_node_is_first_then_what_it_is_related_to_then_the_largest():
    assert node_order(GRAPH, 1, 9) == [1, 0, 3, 2]
    assert node_order(GRAPH, 1, 2) == [1, 0]
    assert node_order(GRAPH, 2, 9) == [2, 0, 1, 3]


def test_relations_are_worded_from_the_prompts_side():
    assert relations_of_prompt(GRAPH, [1, 0, 3, 2]) == ["", "with", "by near", ""]


def test_names_are_tokens_and_none_is_minus_one():
    tokenizer = tiny_reader().captioner.checkpoint.tokenizer
    ids = encode_names([["dog", ""], ["red car", "dog"]], tokenizer)
    assert (ids[0, 1] == -1).all()
    assert torch.equal(ids[0, 0], ids[1, 1])
    assert tokenizer.decode([i for i in ids[1, 0].tolist() if i >= 0]) == "red car"


def test_appearance_is_the_mean_inside_the_box():
    level = torch.zeros(1, 2, 6, 6)
    level[:, 1, :3, :3] = 1
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]])
    seen = appearance([level, level], boxes)
    assert seen.shape == (1, 2, 4)
    torch.testing.assert_close(seen[0, 0, 1], torch.tensor(1.0), atol=0.34, rtol=0)  # half a cell reaches over the edge
    assert seen[0, 1].abs().max() < 1 / POINTS


def test_a_photograph_is_read_once_into_all_that_the_network_takes():
    reader = tiny_reader()
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    read = reader.read(image)
    assert read.size == (60, 40)
    assert read.picture.shape == (1, CONFIG.picture_vectors, CONFIG.encoder_width)
    assert [level.shape[1] for level in read.levels] == list(CONFIG.levels)
    torch.testing.assert_close(read.picture[0, 1], reader.encoder.embed_images([image])[0])


def test_pixels_are_from_0_to_1():
    pixels = pixels_of_rgb(np.array([[[0, 51, 255], [255, 0, 102]]], np.uint8))
    assert pixels.shape == (1, 3, 1, 2)
    torch.testing.assert_close(pixels[0, :, 0], torch.tensor([[0, 1], [0.2, 0], [1, 0.4]]))
