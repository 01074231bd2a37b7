"""The regions and relations of a drawn scene."""

import numpy as np

from segue.data import rle
from segue.data.formats import read_pictures
from segue.synthetic.scenes.annotations import annotate
from segue.synthetic.scenes.render import render
from segue.synthetic.scenes.sampling import sample_scene
from segue.synthetic.scenes.writer import make_scenes


def test_things_come_first_and_relations_join_what_is_seen():
    for seed in range(12):
        scene = sample_scene(seed)
        drawn = render(scene, 96)
        regions, relations = annotate(scene, drawn.segments)
        kinds = [region.thing for region in regions]
        assert kinds == sorted(kinds, reverse=True)
        assert sum(rle.decode(region.mask).astype(int) for region in regions).tolist() == np.ones((96, 96)).tolist()
        assert all(0 <= r.subject < len(regions) > r.object >= 0 for r in relations)


def test_the_written_data_set_knows_the_same(tmp_path):
    make_scenes(tmp_path / "scenes", seed=3, train=0, val=0, test=2, size=96)
    for number, picture in enumerate(read_pictures(tmp_path / "scenes", "test").pictures):
        scene = sample_scene((3, 2, number))
        regions, relations = annotate(scene, render(scene, 96).segments)
        annotated = {(regions[r.subject].label, r.predicate, regions[r.object].label) for r in relations}
        written = {
            (picture.regions[r.subject].label, r.predicate, picture.regions[r.object].label) for r in picture.relations
        }
        assert written <= annotated  # what covers a few pixels is not written
        assert written
