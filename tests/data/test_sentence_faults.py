import pytest

from segue.data.sentence_faults import can_be_noun, find_faults
from segue.synthetic.scenes.language.captions import caption_scene
from segue.synthetic.scenes.sampling import sample_scene

BROKEN = {  # what models said
    "a truck truck is parked on the street": "twice",
    "a picture of a truck under a blue sky under a blue sky": "sky",
    "a view of a ball on a sunny day on a cloudy day": "day",
    "a road with a road on a sunny day": "road with road",
    "a view of a truck and a truck": "truck and truck",
    "a picture of a parked on a sunny day": "no noun",
    "a photo of two flying under a blue sky": "no noun",
    "a woman wearing a red sitting during the day": "no noun",
    "a photo of a white next to a lake": "no noun",
    "a couple of flying in the air": "no noun",
    "a couple of is sitting": "of is",
    "a picture of standing under a blue sky": "of standing",
    "a woman is is flying": "is is",
    "a guy in is walking on the grass": "in is",
    "a man wearing is standing in a field": "wearing is",
    "a couple of and parked during the day": "of and",
    "a men of short men on a sunny day": "a plural",
    "a view of a children on a cloudy day": "a plural",
    "a body with two kite on a sunny day": "a singular",
    "a group of a group on a sunny day": "group of a",
    "an view of a red ball": "an view",
    "a orange cat on a bench": "a orange",
    "a man standing on the": "no noun",
    "a dog running with": "ends with",
    "is running on the road": "begins with",
    "there are a dog on the grass": "there are a",
    "there is two dogs on the grass": "there is two",
    "two dogs is running": "dogs is",
    "a dog are running": "dog are",
    "a boat is boat sailing on the lake": "is boat",
    "a body of water next during the day": "next during",
    "a view of a snowy field a sunny day": "field a sunny day",
    "a couple of buses parked stopped": "parked stopped",
    "a picture of a man and a left of a man": "a left",
    "a dog next to a dog on the grass": "dog next to dog",
    "a red dog on a black dog": "dog on dog",
    "": "no word",
    " .": "no word",
}
SOUND = [  # what people say
    "a dog left of a red car",
    "a red dog next to a black dog",
    "a blue car left of a green car",
    "two cars right of a tall tree",
    "A black dog and a brown dog playing in tall weeds.",
    "A man skis down a snowy hill.",
    "two people in red shirts are walking next to each other",
    "a couple of cars parked on the side of the street",
    "A person riding on the back of a horse walking across a field.",
    "There is a group of children on a sandy beach.",
    "A red, white and blue plane is in the sky.",
    "An elderly man with an umbrella gives a dog a bone.",
    "a lady in a red shirt jumping and a man in a red shirt walking on the sand",
    "A view of a couple of small red trucks and a couple of cars.",
    "Three dogs, one of which is black, run through an hour glass.",
    "a man dressed in red is sitting on a bench with a cat on it",
    "The two of them are standing in front of a building.",
    "a bird flies over the water while another bird swims",
    "A child holds sparklers in the dark.",
]


@pytest.mark.parametrize("caption", BROKEN)
def test_broken_captions_of_models(caption):
    faults = find_faults(caption, ["kite"])
    assert any(BROKEN[caption] in fault for fault in faults), faults


@pytest.mark.parametrize("caption", SOUND)
def test_sound_captions_of_people(caption):
    assert find_faults(caption) == ()


def test_captions_of_scenes_are_sound():
    for seed in range(60):
        scene = sample_scene(seed)
        shares = [0.1] * (len(scene.stuff) + len(scene.things))
        for caption in caption_scene(scene, shares, seed):
            assert find_faults(caption.text) == (), caption.text


def test_the_number_of_a_noun_is_judged_when_it_is_known():
    assert find_faults("three balloon in the sky") == find_faults("a balloons in the sky") == ()
    assert find_faults("three balloon in the sky", ["balloon"])
    assert find_faults("a balloons in the sky", ["balloon"])


def test_words_that_can_be_nouns():
    assert all(map(can_be_noun, ("dog", "building", "birdseed", "orange", "zebra")))
    assert not any(map(can_be_noun, ("a", "two", "red", "parked", "Flying", "of", "is", "sunny")))
