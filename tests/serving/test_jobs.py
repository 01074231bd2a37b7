"""Every job over HTTP with a tiny model of its own: the answers are the predictor's."""

import base64
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient

import segue as package
from methods.sgdiff.toys import toy_example
from segue.data import rle
from segue.data.images import index_png_bytes, png_bytes, write_image
from segue.options import Decoding, DescribeOptions, DrawOptions, SegmentOptions
from segue.serving import create_app
from segue.serving.jobs import JOBS, Request
from segue.serving.uploads import layout as read_layout
from serving.browsing import until_ready

IMAGE, PICTURE, _ = toy_example()
SENT = base64.b64encode(png_bytes(IMAGE)).decode()


@pytest.fixture(scope="module")
def client(tiny_models):
    with TestClient(create_app(tiny_models)) as client:
        yield client


def asked(client, path, **sent):
    answer = client.post(f"/{path}", json=sent)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_labels(client, tiny_models):
    answer = asked(client, "segment/labels", image=SENT, labels=["dog", "grass", "sky"], masks="rle")
    expected = tiny_models["names"].segment(IMAGE, ["dog", "grass", "sky"])
    values = read_layout(base64.b64decode(answer["map"]), "map")
    np.testing.assert_array_equal(values, expected.index)
    for one in answer["classes"]:
        mask = rle.decode(rle.from_json(one["mask"], IMAGE.shape[:2], "mask"))
        np.testing.assert_array_equal(mask, expected.index == one["value"])
    assert client.post("/segment/labels", json={"image": SENT, "labels": ["dog"]}).status_code == 422


def test_captions(client, tiny_models):
    captions = asked(client, "caption", image=SENT, num=2)["captions"]
    expected = tiny_models["captions"].caption(IMAGE, options=Decoding(beams=3, num=2))
    assert [one["text"] for one in captions] == [one.text for one in expected]
    assert captions == [one.to_dict() for one in expected]


def test_the_words_of_captions_are_told_where_they_are_asked_for(client, tiny_models):
    captions = asked(client, "caption", image=SENT, num=2, words=True)["captions"]
    assert [{**one, "words": None} for one in captions] == [
        {**one, "words": None} for one in asked(client, "caption", image=SENT, num=2)["captions"]
    ]
    expected = tiny_models["captions"].attribute_words(IMAGE, [one["text"] for one in captions])
    for one, words in zip(captions, expected, strict=True):
        assert one["words"] == [{"word": one["text"][w.start : w.end], **w.to_dict()} for w in words]


def test_the_words_of_a_note_are_told_where_they_are_asked_for(tiny_model):
    model, note = package.load(tiny_model), "One infected area, left lung."
    with TestClient(create_app({"notes": model})) as client:
        answer = asked(client, "segment/note", image=SENT, note=note, words=True, threshold=0.45)
        expected = model.attribute_words(IMAGE, note, options=SegmentOptions(threshold=0.45))
        assert [one["word"] for one in answer["words"]] == ["One", "infected", "area", "left", "lung"]
        for one, word in zip(answer["words"], expected, strict=True):
            assert {name: one[name] for name in ("start", "end", "change")} == word.to_dict()
            for name in ("lost", "gained"):
                mask = rle.decode(rle.from_json(one[name], IMAGE.shape[:2], name))
                np.testing.assert_array_equal(mask, getattr(word, name))
        assert "words" not in asked(client, "segment/note", image=SENT, note=note)
        refused = client.post("/segment/note", json={"image": SENT, "words": True})
    assert (refused.status_code, "there is no note whose words" in refused.json()["error"]) == (422, True)


def test_grounded_captions(client, tiny_models):
    regions = [{"label": r.label, "box": list(r.box)} for r in PICTURE.regions]
    relations = [{"subject": r.subject, "predicate": r.predicate, "object": r.object} for r in PICTURE.relations]
    box = list(PICTURE.regions[0].box)
    ask = {"image": SENT, "box": box, "regions": regions, "relations": relations, "num": 2, "seed": 3}
    captions = asked(client, "describe", **ask)["captions"]
    plain = [type(r)(r.label, r.box) for r in PICTURE.regions]
    expected = tiny_models["describer"].describe(
        IMAGE, box=box, regions=plain, relations=PICTURE.relations, options=DescribeOptions(num=2, seed=3)
    )
    assert [one["caption"] for one in captions] == [one.caption for one in expected]
    for one, caption in zip(captions, expected, strict=True):
        for grounding, other in zip(one["groundings"], caption.groundings, strict=True):
            mask = rle.decode(rle.from_json(grounding["mask"], IMAGE.shape[:2], "mask"))
            np.testing.assert_array_equal(mask, other.mask)


def test_a_mask_and_the_options_of_grounded_captions(client, tiny_models):
    regions = [{"label": r.label, "box": list(r.box)} for r in PICTURE.regions]
    mask = rle.decode(PICTURE.regions[0].mask)
    drawn = base64.b64encode(index_png_bytes(mask.astype(np.uint8), np.zeros((2, 3), np.uint8))).decode()
    how = {"num": 2, "steps": 2, "temperature": 1.0, "length": 4, "seed": 1}
    captions = asked(client, "describe", image=SENT, mask=drawn, regions=regions, **how)["captions"]
    plain = [type(r)(r.label, r.box) for r in PICTURE.regions]
    expected = tiny_models["describer"].describe(IMAGE, mask=mask, regions=plain, options=DescribeOptions(**how))
    assert [one["caption"] for one in captions] == [one.caption for one in expected]
    assert {len(one["caption"].split()) for one in captions} == {4}


def test_an_answer_tells_the_distance_of_its_picture(client, tiny_models):
    ask = {"image": SENT, "box": [1, 1, 4, 4], "regions": [{"label": "dog", "box": [1, 1, 4, 4]}]}
    told = asked(client, "describe", **ask)
    assert (told["domain_distance"], told["out_of_domain"]) == (None, None)  # the model doesn't measure it
    (distance,) = tiny_models["layouts"].measure_distances([IMAGE])
    drawn = asked(client, "draw", caption="a dog on the grass", image=SENT)
    told = asked(client, "caption-layout", layout=drawn["layouts"][0]["layout"], image=SENT)
    for one in (drawn, told):
        assert (one["domain_distance"], one["out_of_domain"]) == (pytest.approx(distance, abs=0.001), distance > 1)
    assert asked(client, "draw", caption="a dog on the grass")["out_of_domain"] is None  # of no picture


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "got nothing, expected one of box, point, scribble"),
        ({"box": [1, 1, 4, 4], "point": [1, 1]}, "got box, point"),
        ({"box": [1, 1, 4, 4], "every": True}, "got box, every"),
        ({"every": True, "label": "dog"}, "label: names what one place is around; with every give regions"),
        ({"every": True, "regions": None}, "no scene graph"),
        ({"box": [1, 1, 4, 4], "relations": [{"subject": 0, "predicate": "on", "object": 9}]}, "relation 0-9"),
        ({"box": [900, 900, 5, 5]}, "box"),
        ({"box": [1, 1, 4]}, "box"),
        ({"box": [1, 1, 4, 4], "regions": None}, "no scene graph"),
    ],
)
def test_bad_prompts(client, wrong, said):
    regions = [{"label": r.label, "box": list(r.box)} for r in PICTURE.regions]
    answer = client.post("/describe", json={"image": SENT, "regions": regions} | wrong)
    assert answer.status_code == 422
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("draw", {"guidance": False}),
        ("draw", {"temperature": True}),
        ("draw", {"steps": "3"}),
        ("draw", {"seed": True}),
        ("draw", {"boxes": [{"label": "dog", "box": [True, 1, 4, 4]}]}),
        ("describe", {"point": ["1", 1]}),
        ("describe", {"every": "yes"}),
        ("describe", {"relations": [{"subject": True, "predicate": "on", "object": 0}]}),
    ],
)
def test_what_json_has_another_type_for_is_no_number(client, path, wrong):
    """false was taken for a guidance of 0."""
    body = {"caption": "a dog"} if path == "draw" else {"image": SENT}
    assert client.post(f"/{path}", json=body | wrong).status_code == 422


def test_whole_numbers_may_be_written_as_floats(client):
    assert len(asked(client, "draw", caption="a dog", num=1.0, steps=2.0, guidance=1)["layouts"]) == 1


def test_layouts_and_their_words(client, tiny_models):
    answer = asked(client, "draw", caption="a dog on the grass", num=2, seed=5)
    expected = tiny_models["layouts"].draw("a dog on the grass", options=DrawOptions(num=2, seed=5))
    for one, layout in zip(answer["layouts"], expected, strict=True):
        np.testing.assert_array_equal(read_layout(base64.b64decode(one["layout"]), "layout"), layout.labels)
    assert len(answer["classes"]) == len(tiny_models["layouts"].classes)
    words = asked(client, "caption-layout", layout=answer["layouts"][0]["layout"], num=2)["captions"]
    assert [one["text"] for one in words] == [
        one.caption
        for one in tiny_models["layouts"].caption_layout(expected[0].labels, options=Decoding(beams=4, num=2))
    ]
    kept = expected[0].labels.copy()
    kept[:16] = 255
    keep = base64.b64encode(index_png_bytes(kept, np.zeros((1, 3), np.uint8))).decode()
    drawn = asked(client, "draw", caption="a dog", num=1, keep=keep)["layouts"][0]
    np.testing.assert_array_equal(read_layout(base64.b64decode(drawn["layout"]), "layout")[16:], kept[16:])
    odd = base64.b64encode(index_png_bytes(np.full((8, 8), 200, np.uint8), np.zeros((1, 3), np.uint8))).decode()
    assert "200" in client.post("/caption-layout", json={"layout": odd}).json()["error"]


def test_layouts_with_pictures_and_without_are_captioned_in_batches(tiny_models):
    model, job = tiny_models["layouts"], JOBS["caption-layout"]
    layouts = [np.full((32, 32), value, np.uint8) for value in (0, 24, 25, 24)]
    files = [index_png_bytes(one, np.zeros((1, 3), np.uint8)) for one in layouts]
    requests = [
        Request(
            job.body(layout="-", num=num, **({"image": "-"} if pictured else {})),
            {"layout": file} | ({"image": png_bytes(IMAGE)} if pictured else {}),
        )
        for file, num, pictured in zip(files, (2, 1, 1, 1), (False, False, True, True), strict=True)
    ]
    found = job.work(model, requests)
    assert found == [job.work(model, [one])[0] for one in requests]
    assert [len(one["captions"]) for one in found] == [2, 1, 1, 1]
    assert ["domain_distance" in one for one in found] == [False, False, True, True]


def kept(answer, *names):
    return [{name: one[name] for name in names} for one in answer]


def test_answers_are_those_of_the_command_line(client, tiny_folders, segue, tmp_path):
    """Every job but a note's, whose test is in test_app."""
    write_image(IMAGE, tmp_path / "p.png")
    layout = np.zeros((32, 32), np.uint8)
    layout[16:] = 1
    (tmp_path / "l.png").write_bytes(index_png_bytes(layout, np.zeros((2, 3), np.uint8)))

    def command(*args, model):
        status, out, error = segue(*args, "--model", tiny_folders[model], "--json")
        assert status == 0, error
        return json.loads(out)

    printed = command("segment", "p.png", "--labels", "dog, grass, sky", model="names")
    answer = asked(client, "segment/labels", image=SENT, labels=["dog", "grass", "sky"])
    same = ("label", "value", "area", "share", "score", "closeness")
    assert kept(printed["classes"], *same) == kept(answer["classes"], *same)
    printed = command("caption", "p.png", "--num", 2, model="captions")
    assert printed["captions"] == asked(client, "caption", image=SENT, num=2)["captions"]
    box = [int(v) for v in PICTURE.regions[0].box]
    args = ("--box", ",".join(map(str, box)), "--label", "dog", "--num", 2, "--seed", 3)
    printed = command("describe", "p.png", *args, model="describer")["prompts"][0]["captions"]
    answer = asked(client, "describe", image=SENT, box=box, label="dog", num=2, seed=3)["captions"]
    assert printed == [
        one | {"groundings": [{k: v for k, v in x.items() if k != "mask"} for x in one["groundings"]]} for one in answer
    ]
    printed = command("draw", "a dog on the grass", "--num", 2, "--seed", 5, model="layouts")
    answer = asked(client, "draw", caption="a dog on the grass", num=2, seed=5)
    same = ("seed", "condition", "areas")
    assert kept(printed["layouts"], *same) == kept(answer["layouts"], *same)
    printed = command("caption-layout", "l.png", "--num", 2, model="layouts")
    sent = base64.b64encode((tmp_path / "l.png").read_bytes()).decode()
    printed = [{"text": one["caption"], "likelihood": round(one["likelihood"], 4)} for one in printed["captions"]]
    assert printed == asked(client, "caption-layout", layout=sent, num=2)["captions"]


OBJECTS = [{"object_id": i, "names": [r.label], **dict(zip("xywh", r.box, strict=True))}
           for i, r in enumerate(PICTURE.regions)]  # fmt: skip
EDGES = [{"subject_id": r.subject, "predicate": r.predicate, "object_id": r.object} for r in PICTURE.relations]
FIRST = PICTURE.regions[0].box


@pytest.mark.parametrize(
    ("args", "sent", "place"),
    [
        (("--every",), {"every": True}, None),
        (("--point", "24,16"), {"point": [24, 16]}, PICTURE.regions[1].box),
        (("--scribble", "5,12 12,19"), {"scribble": [[5, 12], [12, 19]]}, (5, 12, 8, 8)),
        (("--point", "9,16", "--length", 4), {"point": [9, 16], "length": 4}, FIRST),
        (("--point", "9,16", "--include", "circle", "red"), {"point": [9, 16], "include": ["circle", "red"]}, FIRST),
    ],
)
def test_places_and_controls_are_those_of_the_command_line(
    client, tiny_models, tiny_folders, segue, tmp_path, args, sent, place
):
    """And a place's captions are those of the box that it stands for."""
    write_image(IMAGE, tmp_path / "p.png")
    (tmp_path / "g.json").write_text(json.dumps({"image_id": "p", "objects": OBJECTS, "relationships": EDGES}))
    how = (
        "--num",
        2,
        "--seed",
        3,
        "--temperature",
        1,
        "--graph",
        "g.json",
        "--model",
        tiny_folders["describer"],
        "--json",
    )
    status, out, error = segue("describe", "p.png", *args, *how)
    assert status == 0, error
    regions = [{"label": r.label, "box": r.box} for r in PICTURE.regions]
    known = {"regions": regions, "relations": [r.__dict__ for r in PICTURE.relations]}
    answer = asked(client, "describe", image=SENT, num=2, seed=3, temperature=1, **known, **sent)
    answered = answer["prompts"] if "every" in sent else [{"captions": answer["captions"]}]
    for one in answered:
        for caption in one["captions"]:
            for grounding in caption["groundings"]:
                assert rle.decode(rle.from_json(grounding.pop("mask"), (32, 32), "mask")).sum() == grounding["area"]
    printed = json.loads(out)["prompts"]
    if "every" in sent:
        assert [one["prompt"] for one in answered] == [{"box": list(r.box)} for r in PICTURE.regions]
        assert [one["prompt"] for one in printed] == [one["prompt"] for one in answered]
    assert [one["captions"] for one in printed] == [one["captions"] for one in answered]
    captions = [caption["caption"] for one in printed for caption in one["captions"]]
    if place is not None:
        plain = {"regions": [type(r)(r.label, r.box) for r in PICTURE.regions], "relations": PICTURE.relations}
        controls = {name: sent[name] for name in ("length", "include") if name in sent}
        options = DescribeOptions(num=2, seed=3, temperature=1, **controls)
        expected = tiny_models["describer"].describe(IMAGE, box=place, options=options, **plain)
        assert captions == [one.caption for one in expected]
    assert all(len(caption.split()) == sent.get("length", len(caption.split())) for caption in captions)
    assert all(set(sent.get("include", ())) <= set(caption.split()) for caption in captions)


def test_all_models_get_warm(client):
    until_ready(client.get)


def events(client, path, **sent):
    """The server-sent events of an answer: (kind, data) pairs."""
    answer = client.post(f"/{path}", json=sent, headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    lines = [one.split("\n") for one in answer.text.split("\n\n") if one]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in lines]


@pytest.mark.parametrize("path", ["draw", "describe"])
def test_the_way_to_an_answer_is_told(client, path):
    regions = [{"label": r.label, "box": list(r.box)} for r in PICTURE.regions]
    ask = {"image": SENT, "every": True, "regions": regions, "num": 2} if path == "describe" else {"caption": "a dog"}
    *told, (last, answer) = events(client, path, **ask)
    assert {kind for kind, _ in told} == {"progress"}
    shares = [data["done"] for _, data in told]
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    assert last == "answer"
    assert answer == asked(client, path, **ask)


def test_what_goes_wrong_on_the_way_is_told(client):
    (kind, told), *more = events(client, "describe", image=SENT, box=[1, 1, 4, 4])
    assert (kind, more) == ("error", [])
    plain = client.post("/describe", json={"image": SENT, "box": [1, 1, 4, 4]})
    assert told == {"status": plain.status_code, **plain.json()}
