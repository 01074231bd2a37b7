"""Recovery of what captions leave out, after each stage of a curation."""

import numpy as np

from scenes_and_encoder import write_scenes
from segue.api.curation import CurationCorpus
from segue.data.formats import read_pictures
from segue.evaluation.concept_recovery import SAMPLING_ROUNDS, concepts_by_stage, recovery_by_stage
from segue.methods.cocu.archive import Archive
from segue.methods.cocu.vocabulary import Vocabulary
from segue.synthetic.scenes.language.omissions import read_omissions

CONCEPTS = ("dog", "day", "sky", "grass", "tree")


def archive_of(*rows):
    """Each picture a list of concepts, best first, all of one cluster."""
    ids = [CONCEPTS.index(name) for row in rows for name in row]
    scores = [2.0 - 0.1 * i for row in rows for i in range(len(row))]
    offsets = np.cumsum([0, *map(len, rows)])
    return Archive(
        CONCEPTS, offsets, np.array(ids, np.int32), np.array(scores, np.float32), np.zeros(len(ids), np.uint16),
        np.zeros(len(ids), bool),
    )  # fmt: skip


def test_stages_are_the_whole_archive_its_first_three_and_samples():
    stages = concepts_by_stage(archive_of(CONCEPTS, ["sky"], []))
    assert stages["expansion"] == [list(CONCEPTS), ["sky"], []]
    assert stages["ranking"] == [list(CONCEPTS[:3]), ["sky"], []]
    assert len(stages["sampling"]) == 3 * SAMPLING_ROUNDS
    assert stages["sampling"][1::3] == [["sky"]] * SAMPLING_ROUNDS
    assert all(len(set(names)) == 3 for names in stages["sampling"][::3])
    assert len({tuple(names) for names in stages["sampling"][::3]}) > 1  # each round draws anew


def test_an_archive_of_what_was_left_out_recovers_all_of_it(tmp_path):
    scenes = write_scenes(tmp_path / "scenes")
    pictures = list(read_pictures(scenes, "train").pictures)
    truth = read_omissions(scenes, "train")
    omitted = [sorted(truth[int(p.name.split(".")[0])][0].omitted) for p in pictures]
    kinds = tuple(dict.fromkeys(kind for row in omitted for kind in row))
    vocabulary = Vocabulary([*kinds, "day"])
    ids = np.array([vocabulary.concepts.index(kind) for row in omitted for kind in row], np.int32)
    archive = Archive(
        vocabulary.concepts, np.cumsum([0, *map(len, omitted)]), ids,
        np.ones(len(ids), np.float32), np.zeros(len(ids), np.uint16), np.zeros(len(ids), bool),
    )  # fmt: skip
    corpus = CurationCorpus(pictures, [p.captions[:1] for p in pictures], vocabulary)
    found = recovery_by_stage(archive, corpus, scenes, "train")
    assert found["expansion"]["precision"] == found["expansion"]["recall"] == 1
    assert found["expansion"]["omitted"] == sum(map(len, omitted))
    assert found["ranking"]["precision"] == 1 > found["ranking"]["recall"]
    assert found["sampling"]["omitted"] == SAMPLING_ROUNDS * found["expansion"]["omitted"]
