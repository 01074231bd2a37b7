from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from segue.synthetic.scenes.placement import (
    MAY_BE_ON,
    STANDS_ON,
    ScenePlan,
    ThingSpec,
    lay_out,
    relation_holds,
    visible_bands,
)
from segue.synthetic.scenes.render import NATURAL_COLOURS, POSES, TYPICAL_EXTENT
from segue.synthetic.scenes.sampling import DOMAINS, SETTING_KINDS, SETTINGS, close_up, sample_background, sample_scene
from segue.synthetic.scenes.scene import COLOURS, PREDICATES, SIZES, STUFF_CLASSES, THING_CLASSES, Stuff, Thing
from segue.types import InputError
from synthetic.scenes.scene_truth import floor

SCENES = {domain: [sample_scene(seed, domain) for seed in range(250)] for domain in DOMAINS}
BOTH = SCENES["a"] + SCENES["b"]
FIELD = (Stuff("sky", 0.0, 0.43, 1), Stuff("grass", 0.4, 1.0, 2))


def thing(kind, x, y, w, h, pose="standing"):
    return Thing(kind, "red", "medium", pose, (x, y, w, h), False, 0)


def test_the_tables_name_what_there_is():
    assert set(STANDS_ON) == set(THING_CLASSES)
    assert set(SETTINGS) == set(SETTING_KINDS) == set(DOMAINS["a"].settings) == set(DOMAINS["b"].settings)
    for name, layers in SETTINGS.items():
        there = {layer[0] for layer in layers}
        assert there <= set(STUFF_CLASSES)
        assert all(set(STANDS_ON[kind]) & there or kind in MAY_BE_ON for kind in SETTING_KINDS[name])


def test_the_same_seed_is_the_same_scene_and_no_two_are_alike():
    assert sample_scene([3, 1, 4]) == sample_scene([3, 1, 4])
    assert len({(s.stuff, s.things) for s in BOTH}) == len(BOTH)


def test_a_scene_is_well_formed():
    for scene in BOTH:
        assert 1 <= len(scene.things) <= 7
        assert scene.stuff[0].top == 0
        assert scene.stuff[-1].bottom == 1
        for one in scene.things:
            assert one.colour in NATURAL_COLOURS[one.kind]
            assert one.colour in COLOURS
            assert one.size in SIZES
            assert one.pose in POSES[one.kind]
            x, y, w, h = one.box
            assert min(w, h) > 0
            assert -0.15 < x < x + w < 1.15
            assert -0.15 < y < y + h < 1.15


def test_a_close_up_shows_less_and_larger_and_stays_true():
    near = [close_up(scene, np.random.default_rng(i)) for i, scene in enumerate(BOTH)]
    for scene, close in zip(BOTH, near, strict=True):
        assert close.things
        assert {(one.kind, one.seed) for one in close.things} <= {(one.kind, one.seed) for one in scene.things}
        assert all(relation_holds(close.things, r) for r in close.relations)
        assert close.stuff[0].top <= 0
        assert close.stuff[-1].bottom > 1 - 1e-9
        assert all(stuff.top < 1 and stuff.bottom > 0 for stuff in close.stuff)
    share = np.mean([max(one.box[2:]) for close in near for one in close.things])
    assert share > 2 * np.mean([max(one.box[2:]) for scene in BOTH for one in scene.things])
    assert close_up(BOTH[0], np.random.default_rng(0)) == near[0]


def test_relations_are_true_by_geometry():
    for scene in BOTH:
        assert all(relation_holds(scene.things, r) for r in scene.relations)
        pairs = [frozenset((s, o)) for s, _, o in scene.relations]
        assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("predicate", PREDICATES)
def test_every_predicate_occurs(predicate):
    assert sum(r[1] == predicate for s in BOTH for r in s.relations) >= 10


def test_left_and_right_are_mirrored():
    a, b = thing("dog", 0.1, 0.5, 0.2, 0.2), thing("cat", 0.6, 0.5, 0.2, 0.2)
    assert relation_holds((a, b), (0, "left of", 1))
    assert relation_holds((a, b), (1, "right of", 0))
    assert not relation_holds((a, b), (0, "right of", 1))
    assert not relation_holds((a, replace(b, box=(0.15, 0.5, 0.2, 0.2))), (0, "left of", 1))


def test_in_front_of_is_nearer_and_covers():
    far, near = thing("house", 0.2, 0.2, 0.5, 0.4), thing("dog", 0.3, 0.5, 0.2, 0.2)
    assert relation_holds((far, near), (1, "in front of", 0))
    assert not relation_holds((far, near), (0, "in front of", 1))
    assert not relation_holds((far, replace(near, box=(0.75, 0.5, 0.2, 0.2))), (1, "in front of", 0))


def test_above_is_for_what_flies():
    plane, dog = thing("airplane", 0.2, 0.1, 0.3, 0.1, "flying"), thing("dog", 0.3, 0.6, 0.2, 0.2)
    assert relation_holds((plane, dog), (0, "above", 1))
    assert relation_holds((plane, dog), (1, "below", 0))
    assert not relation_holds((thing("cat", 0.3, 0.1, 0.2, 0.2), dog), (0, "above", 1))


def test_things_are_where_they_can_be():
    for scene in BOTH:
        carried = {o for _, p, o in scene.relations if p == "holding"}
        for k, one in enumerate(scene.things):
            on = floor(scene, k)
            if k not in carried and not any(s == k and p == "on" for s, p, _ in scene.relations):
                assert on in STANDS_ON[one.kind] or one.pose == "flying", (one, scene.stuff)


def test_nothing_is_hidden():
    for scene in BOTH:
        for k, one in enumerate(scene.things):
            x, y, w, h = one.box
            grid = [(x + w * (i + 0.5) / 10, y + h * (j + 0.5) / 10) for i in range(10) for j in range(10)]
            free = {
                o if s == k else s for s, p, o in scene.relations if p in ("on", "holding", "under") and k in (s, o)
            }
            over = [t.box for j, t in enumerate(scene.things) if j > k and j not in free]
            seen = [not any(u <= px <= u + a and v <= py <= v + b for u, v, a, b in over) for px, py in grid]
            assert np.mean(seen) > 0.3


def test_nearer_is_larger():
    scale = {True: [], False: []}
    for scene in SCENES["a"]:
        for one in scene.things:
            if one.kind in ("dog", "sheep", "cow", "cat") and one.size == "medium" and one.pose == POSES[one.kind][0]:
                scale[one.box[1] + one.box[3] > 0.75].append(one.box[3] / TYPICAL_EXTENT[one.kind][1])
    assert np.mean(scale[True]) > 1.15 * np.mean(scale[False])


def test_some_classes_are_rare_and_the_domains_differ():
    counts = {w: Counter(t.kind for s in scenes for t in s.things) for w, scenes in SCENES.items()}
    assert set(counts["a"]) == set(THING_CLASSES)
    ranked = [n for _, n in counts["a"].most_common()]
    assert ranked[0] > 5 * ranked[-3]
    shares = {w: np.array([c[k] for k in THING_CLASSES]) / c.total() for w, c in counts.items()}
    assert abs(shares["a"] - shares["b"]).sum() > 0.3


def test_a_plan_is_laid_out_whole_or_not_at_all():
    man, kite, tree = ThingSpec("man", "red", "large", "standing"), ThingSpec("kite", "blue"), ThingSpec("tree")
    plan = ScenePlan(FIELD, (kite, man, tree), ((1, "holding", 0), (1, "left of", 2)), "day")
    made = [s for seed in range(20) if (s := lay_out(plan, np.random.default_rng(seed)))]
    assert made
    for scene in made:
        kinds = [t.kind for t in scene.things]
        assert sorted(kinds) == ["kite", "man", "tree"]
        m, k, t = (kinds.index(kind) for kind in ("man", "kite", "tree"))
        assert {(m, "holding", k), (m, "left of", t)} <= set(scene.relations)
        assert scene.things[m].colour == "red"
        assert scene.things[m].size == "large"
    impossible = ScenePlan(FIELD, (ThingSpec("boat"), man), (), "day")
    assert lay_out(impossible, np.random.default_rng(0)) is None
    left = lay_out(impossible, np.random.default_rng(0), strict=False)
    assert [t.kind for t in left.things] == ["man"]


def test_bands_end_where_the_next_begins():
    background = sample_background(SETTINGS["beach"], np.random.default_rng(0))
    shown = visible_bands(background)
    assert all(a[2] == pytest.approx(b[1]) for a, b in pairwise(shown))


def test_an_unknown_domain():
    with pytest.raises(InputError, match="got 'c', expected one of a, b"):
        sample_scene(0, "c")
