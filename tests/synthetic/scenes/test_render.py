import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.synthetic.scenes.render import (
    NATURAL_COLOURS,
    POSES,
    STYLES,
    TYPICAL_EXTENT,
    anchor_points,
    individual_extent,
    is_airborne,
    render,
)
from segue.synthetic.scenes.scene import COLOURS, STUFF_CLASSES, THING_CLASSES, Scene, Stuff, Thing
from segue.synthetic.scenes.shapes.strokes import PALETTE
from segue.types import InputError

SKY, GRASS = Stuff("sky", 0.0, 0.5, 1), Stuff("grass", 0.5, 1.0, 2)
LIGHTS = ("day", "evening", "night", "overcast")
POSED = [(kind, pose) for kind in THING_CLASSES for pose in POSES[kind]]


def thing(kind, pose=None, *, box=(0.2, 0.2, 0.6, 0.6), colour=None, flip=False, seed=0):
    return Thing(kind, colour or NATURAL_COLOURS[kind][0], "medium", pose or POSES[kind][0], box, flip, seed)


def scene(*things, stuff=(SKY, GRASS), light="day", relations=(), seed=5):
    return Scene(stuff, things, relations, light, seed)


def crowd(seed):
    rng = np.random.default_rng(seed)
    kinds = rng.choice(THING_CLASSES, 8).tolist()
    boxes = [(float(x), float(y), 0.3, 0.3) for x, y in rng.uniform(-0.1, 0.8, (8, 2))]
    return [
        thing(kind, box=box, seed=seed + i, flip=bool(i % 2))
        for i, (kind, box) in enumerate(zip(kinds, boxes, strict=True))
    ]


def coverage(masks):
    return masks.mean(axis=(1, 2))


def test_tables_speak_of_every_thing():
    for table in (POSES, NATURAL_COLOURS, TYPICAL_EXTENT):
        assert set(table) == set(THING_CLASSES)
    assert all(set(colours) <= set(COLOURS) for colours in NATURAL_COLOURS.values())
    for kind, (w, h) in TYPICAL_EXTENT.items():
        mean = np.mean([individual_extent(kind, POSES[kind][0], seed) for seed in range(12)], axis=0)
        assert np.allclose(mean, (w, h), rtol=0.1), kind
    assert set(PALETTE) == set(COLOURS)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("light", LIGHTS)
def test_the_same_scene_is_the_same_bytes(style, light):
    one = scene(*crowd(3), light=light)
    first, second = render(one, 64, style), render(replace(one), 64, style)
    assert first.image.shape == (64, 64, 3)
    assert first.image.dtype == first.segments.dtype == np.uint8
    assert hashlib.sha256(first.image.tobytes()).digest() == hashlib.sha256(second.image.tobytes()).digest()
    assert np.array_equal(first.segments, second.segments)
    assert np.array_equal(first.amodal_masks, second.amodal_masks)


def test_drawing_leaves_the_common_random_numbers_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    render(scene(*crowd(1)), 32)
    assert np.array_equal(before, np.random.get_state()[1])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    cuts=st.lists(st.floats(0.1, 0.9), min_size=0, max_size=3, unique=True),
    kinds=st.lists(st.sampled_from(STUFF_CLASSES[1:]), min_size=4, max_size=4),
    light=st.sampled_from(LIGHTS),
    size=st.integers(16, 80),
)
def test_every_pixel_has_one_segment_and_hidden_things_are_under_later_ones(seed, cuts, kinds, light, size):
    edges = [*sorted(cuts), 1.0]
    lying = [
        Stuff(kind, a, b, seed + i) for i, (kind, a, b) in enumerate(zip(kinds, edges[:-1], edges[1:], strict=False))
    ]
    background = (Stuff("sky", 0.0, edges[0], seed), *lying)
    things = crowd(seed)
    drawn = render(scene(*things, stuff=background, light=light, seed=seed), size)
    assert drawn.segments.shape == (size, size)
    assert drawn.segments.max() < len(background) + len(things)
    assert drawn.amodal_masks.shape == (len(things), size, size)
    top = np.where(drawn.amodal_masks.any(0), len(things) - 1 - np.argmax(drawn.amodal_masks[::-1], axis=0), -1)
    assert np.array_equal(
        np.where(drawn.segments >= len(background), drawn.segments.astype(int) - len(background), -1), top
    )


@pytest.mark.parametrize(("kind", "pose"), POSED)
def test_each_thing_fills_its_box_and_stays_in_it(kind, pose):
    for seed in range(5):
        w, h = individual_extent(kind, pose, seed)
        scale = 0.7 / max(w, h)
        w, h = w * scale, h * scale
        one = thing(kind, pose, box=(0.5 - w / 2, 0.9 - h, w, h), seed=seed, flip=bool(seed % 2))
        rows, columns = np.nonzero(render(scene(one), 128).segments == 2)
        assert len(rows) > 0.14 * w * h * 128**2, "too little of its box"
        x0, y0, x1, y1 = (128 * v for v in (0.5 - w / 2, 0.9 - h, 0.5 + w / 2, 0.9))
        assert columns.min() >= x0 - 1
        assert columns.max() <= x1
        assert rows.min() >= y0 - 1
        assert rows.max() <= y1
        assert np.ptp(columns) + 1 > 0.85 * w * 128
        assert np.ptp(rows) + 1 > 0.85 * h * 128


def test_poses_tell_themselves_apart_and_seeds_make_individuals():
    for kind in THING_CLASSES:
        masks = [render(scene(thing(kind, pose, seed=1)), 64).segments == 2 for pose in POSES[kind]]
        assert len({mask.tobytes() for mask in masks}) == len(masks), kind
        pictures = [render(scene(thing(kind, seed=seed)), 64).image.astype(int) for seed in (1, 2)]
        mask = render(scene(thing(kind, seed=1)), 64).segments == 2
        assert np.abs(pictures[0] - pictures[1])[mask].mean() > 2, kind


def test_flip_looks_the_other_way():
    for kind in ("dog", "car", "horse"):
        right, left = (render(scene(thing(kind, flip=flip)), 96).segments == 2 for flip in (False, True))
        assert (right[:, ::-1] == left).mean() > 0.97
        assert (right != left).mean() > 0.01


SIGHT = np.array([[0.2, 0.4, 0.1], [1, -1, 0], [0.5, 0.5, -1]])  # light, red-green, yellow-blue: hues tell names


def nearest(rgb):
    return min(COLOURS, key=lambda name: float(np.sum((SIGHT @ (np.array(PALETTE[name]) - rgb)) ** 2)))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("colour", COLOURS)
def test_colours_keep_their_names(colour, style):
    for kind in ("ball", "balloon", "umbrella", "car"):
        named = []
        for seed in range(6):
            w, h = individual_extent(kind, POSES[kind][0], seed, colour)
            one = thing(
                kind, colour=colour, seed=seed, box=(0.1, 0.1, 0.8, 0.8 * h / w) if w > h else (0.2, 0.1, 0.6, 0.8)
            )
            drawn = render(scene(one, seed=seed), 64, style)
            seen = drawn.segments == 2
            if kind == "car":  # its doors
                rows = np.nonzero(seen)[0]
                seen[: int(rows.min() + 0.45 * np.ptp(rows))] = seen[int(rows.min() + 0.72 * np.ptp(rows)) :] = False
            named.append(nearest(drawn.image[seen].mean(0) / 255))
        assert named.count(colour) >= 5, (kind, named)


def test_styles_differ_in_look_and_agree_in_layout():
    one = scene(*crowd(8))
    photo, synthetic = (render(one, 128, style) for style in STYLES)
    assert (photo.segments == synthetic.segments).mean() > 0.97
    assert np.abs(photo.image.astype(int) - synthetic.image).mean() > 8
    colourful = [np.ptp(drawn.image.astype(int), axis=2).mean() for drawn in (photo, synthetic)]
    empty = [render(scene(), 128, style).image.astype(int) for style in STYLES]
    rough = [np.abs(np.diff(image, n=2, axis=1)).mean() for image in empty]
    assert colourful[1] > 1.1 * colourful[0]
    assert rough[1] < 0.6 * rough[0]


def test_sizes_show_the_same_layout():
    one = scene(*crowd(4))
    small, large = render(one, 64), render(one, 128)
    assert (large.segments[::2, ::2] == small.segments).mean() > 0.93
    shrunk = large.image.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small.image).mean() < 16


def test_lights_go_from_bright_to_dark():
    bright = {light: render(scene(*crowd(2), light=light), 64).image.mean() for light in LIGHTS}
    assert bright["night"] < 0.7 * bright["evening"]
    assert bright["night"] < 0.7 * bright["overcast"]
    evening = render(scene(light="evening"), 64).image.reshape(-1, 3).mean(0)
    day = render(scene(light="day"), 64).image.reshape(-1, 3).mean(0)
    assert evening[0] / evening[2] > 1.3 * day[0] / day[2]


@pytest.mark.parametrize("kind", STUFF_CLASSES)
def test_each_stuff_is_seen_and_has_texture(kind):
    background = (SKY, Stuff(kind, 0.4, 1.0, 3))
    drawn = render(scene(stuff=background), 96)
    assert set(np.unique(drawn.segments)) == ({1} if kind == "sky" else {0, 1})
    ground = drawn.image[60:].astype(float).mean(-1)
    assert ground.std() > 2
    other = render(scene(stuff=(SKY, replace(background[1], seed=4))), 96)
    assert np.abs(other.image[60:].astype(int) - drawn.image[60:]).mean() > 1.5


def test_shadows_lie_on_the_ground_and_not_under_what_flies():
    empty = render(scene(), 64).image.astype(int)
    for kind, dark in (("cow", True), ("balloon", False)):
        drawn = render(scene(thing(kind)), 64)
        ground = (drawn.segments == 1) & (np.arange(64)[:, None] > 36)
        assert ((empty - drawn.image)[ground].mean() > 1) == dark, kind


def test_who_holds_reaches_out_and_the_string_runs_to_the_kite():
    man = thing("man", box=(0.1, 0.4, 0.25, 0.5), seed=2)
    hand = anchor_points(man, frozenset({"holding"}))["hand"]
    assert hand[1] < anchor_points(man)["hand"][1] - 0.05
    kite = thing("kite", box=(0.6, 0.05, 0.2, 0.3))
    assert anchor_points(replace(man, flip=True), frozenset({"holding"}))["hand"][0] < 0.225
    loose, tied = (render(scene(man, kite, relations=relations), 128) for relations in ((), ((0, "holding", 1),)))
    middle = [(hand[i] + anchor_points(kite)["grip"][i]) / 2 for i in (0, 1)]
    x, y = round(middle[0] * 128), round(middle[1] * 128)
    around = slice(y - 6, y + 7), slice(x - 6, x + 7)
    assert loose.image[around].min() - tied.image[around].min() > 20
    assert tied.segments[y, x] < 2


def test_one_sits_on_a_bench_with_the_feet_down():
    bench = thing("bench", box=(0.2, 0.5, 0.6, 0.35))
    woman = thing("woman", "sitting", box=(0.35, 0.3, 0.2, 0.5))
    free, seated = (render(scene(bench, woman, relations=relations), 64) for relations in ((), ((1, "on", 0),)))
    assert not np.array_equal(free.amodal_masks[1], seated.amodal_masks[1])
    assert anchor_points(bench)["back"][1] < 0.85


def test_a_thing_off_the_picture_is_not_drawn():
    drawn = render(scene(thing("dog", box=(1.2, 0.2, 0.3, 0.3)), thing("cow", box=(-0.2, 0.8, 0.5, 0.5))), 64)
    assert not drawn.amodal_masks[0].any()
    assert drawn.amodal_masks[1].any()


def test_what_hangs():
    assert is_airborne(thing("bird", "flying"))
    assert not is_airborne(thing("bird", "perching"))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (scene(thing("dog"), light="noon"), "light"),
        (scene(stuff=()), "stuff"),
        (scene(stuff=(Stuff("lava", 0, 1, 0),)), "lava"),
        (scene(replace(thing("dog"), kind="dragon")), "dragon"),
        (scene(replace(thing("dog"), colour="mauve")), "mauve"),
        (scene(replace(thing("dog"), pose="flying")), "flying"),
        (scene(replace(thing("dog"), box=(0, 0, 0, 0.1))), "box"),
        (scene(thing("dog"), relations=((0, "on", 1),)), "relation"),
    ],
)
def test_what_cannot_be_drawn_is_said(bad, says):
    with pytest.raises(InputError, match=says):
        render(bad, 32)


def test_bad_style_and_size_are_said():
    with pytest.raises(InputError, match="style"):
        render(scene(), 32, "oil")
    with pytest.raises(InputError, match="size"):
        render(scene(), 8)
