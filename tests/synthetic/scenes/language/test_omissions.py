import json

import pytest

from scenes_and_encoder import write_scenes
from segue.data.formats import read_pictures
from segue.synthetic.scenes.language.omissions import NamedKinds, kind_of, merge, naming_rates, read_omissions
from segue.synthetic.scenes.language.parser import parse
from segue.types import InputError


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "s")


def test_named_and_omitted_share_out_what_is_seen(scenes):
    found = read_omissions(scenes, "train")
    pictures = read_pictures(scenes, "train").pictures
    assert len(found) == len(pictures)
    for picture in pictures:
        seen = {region.label for region in picture.regions}
        for naming in found[int(picture.name.split(".")[0])]:
            assert naming.named | naming.omitted == seen
            assert not naming.named & naming.omitted


def test_what_counts_as_named_is_in_the_captions_words(scenes):
    captions = json.loads((scenes / "annotations/captions_train.json").read_text())["annotations"]
    found = read_omissions(scenes, "train")
    for entry in captions:
        asked = parse(entry["caption"], strict=False)
        said = {*asked.stuff, *(kind for wanted in asked.things for kind in wanted.kinds)}
        assert found[entry["image_id"]][entry["id"] % 10].named <= said


def test_rates_and_unions():
    a, b = (
        NamedKinds(frozenset({"dog"}), frozenset({"sky", "car"})),
        NamedKinds(frozenset({"sky"}), frozenset({"dog", "car"})),
    )
    assert merge([a, b]) == NamedKinds(frozenset({"dog", "sky"}), frozenset({"car"}))
    assert naming_rates([a, b]) == {"dog": 0.5, "sky": 0.5, "car": 0.0}


@pytest.mark.parametrize(
    ("concept", "kind"),
    [("lady", "woman"), ("street", "road"), ("bike", "bicycle"), ("lake", "water"), ("person", None), ("day", None)],
)
def test_concepts_stand_for_kinds(concept, kind):
    assert kind_of(concept) == kind


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"objects_train\.json"):
        read_omissions(tmp_path, "train")
