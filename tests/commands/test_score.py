import json

import numpy as np
import pytest
from PIL import Image

CAPTIONS = {"1": ["a dog runs", "the dog"], "2": ["a cat\u2028sits"]}
COCO = {"annotations": [{"image_id": int(i), "caption": c} for i, cs in CAPTIONS.items() for c in cs]}
SAID = [{"image_id": 2, "caption": "a cat sits"}, {"image_id": 1, "caption": "a dog runs"}]
KARPATHY = {
    "images": [
        {"filename": f"{i}.jpg", "cocoid": int(i), "split": s, "sentences": [{"raw": c} for c in CAPTIONS[i]]}
        for i, s in (("1", "restval"), ("2", "test"))
    ]
}


def written(path, content, lines=False):
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in content) if lines else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["coco", "karpathy", "jsonl"])
def test_captions_of_each_format_score_alike(segue, tmp_path, kind):
    if kind == "jsonl":
        refs = [{"image_id": i, "captions": c} for i, c in CAPTIONS.items()]
        refs = written(tmp_path / "refs.jsonl", refs, lines=True)
    else:
        refs = written(tmp_path / "refs.json", COCO if kind == "coco" else KARPATHY)
    preds = written(tmp_path / "preds.jsonl", SAID, lines=True)
    status, output, error = segue("score", "captions", "--refs", refs, "--preds", preds, "--no-java", "--json")
    assert (status, error) == (0, "")
    answer = json.loads(output)
    assert answer["BLEU-1"] == pytest.approx(1, abs=1e-6)
    assert (answer["ROUGE-L"], answer["images"], answer["empty_predictions"]) == (1, 2, 0)


def test_restval_joins_train(segue, tmp_path):
    refs, preds = written(tmp_path / "r.json", KARPATHY), written(tmp_path / "p.json", SAID[1:])
    base = ("score", "captions", "--refs", refs, "--preds", preds, "--no-java", "--json")
    assert json.loads(segue(*base, "--split", "train")[1])["images"] == 1
    assert "no image is of split 'val'; it has test, train" in segue(*base, "--split", "val")[2]


@pytest.mark.parametrize(
    ("refs", "preds", "message"),
    [
        (COCO, SAID[:1], "1 of 2 images have no prediction, such as 1"),
        (COCO, [*SAID, SAID[0]], "image 2 has two predictions"),
        (COCO, [*SAID, {"image_id": 9, "caption": "x"}], "images without references, such as 9"),
        (COCO, [{"caption": "x"}], 'entry 0 (0 is the first) has no "image_id"'),
        (COCO, [{"image_id": 1, "text": "x"}], 'entry 0 (0 is the first) has no text "caption"'),
        (COCO, {"1": "x"}, "got a dict, expected"),
        (COCO, [], "no predictions there"),
        ({"a": 1}, SAID, "expected Karpathy's images[].sentences, COCO's"),
        ([{"image_id": 1, "captions": []}], SAID, "1 captions can't be used"),
        ({"annotations": [{"image_id": 1, "caption": None}]}, SAID, "annotation 0: caption: got null"),
        (["a dog"], SAID, "a caption without its picture"),
        ([{"image_id": 1, "captions": ["x"]}] * 2, SAID, "image 1 stands there twice"),
    ],
)
def test_each_bad_file_has_one_clear_answer(segue, tmp_path, refs, preds, message):
    refs, preds = written(tmp_path / "refs.json", refs), written(tmp_path / "preds.json", preds)
    status, output, error = segue("score", "captions", "--refs", refs, "--preds", preds, "--no-java")
    assert (status, output) == (2, "")
    assert message in error
    assert len(error.splitlines()) == 1


def test_files_that_are_no_json(segue, tmp_path):
    preds = written(tmp_path / "preds.json", SAID)
    (tmp_path / "broken.json").write_text("{")
    for refs, message in (("broken.json", "not readable as JSON"), ("none.json", "no such file")):
        status, _, error = segue("score", "captions", "--refs", tmp_path / refs, "--preds", preds)
        assert status == 2
        assert message in error


def scored(segue, refs, preds, *more):
    status, output, error = segue("score", "captions", "--refs", refs, "--preds", preds, "--no-java", "--json", *more)
    return json.loads(output) if status == 0 else error


def karpathy(*names, **more):
    """A Karpathy json whose imgid are the places in the sorted names, as many make them."""
    order = sorted(names)
    return {
        "images": [
            {"filename": name.rpartition("/")[2], "imgid": order.index(name), "split": "test"}
            | {"sentences": [{"raw": f"caption of {name} here"}]}
            | ({"filepath": name.rpartition("/")[0]} if "/" in name else {})
            | more
            for name in names
        ]
    }


def said_of(*names, called=None):
    return [{"image_id": (called or {}).get(name, name), "caption": f"caption of {name} here"} for name in names]


TWELVE = [f"{i}.png" for i in range(12)]


@pytest.mark.parametrize(
    ("names", "called", "key"),
    [
        (TWELVE, None, "file name"),
        (TWELVE, {name: int(name[:-4]) for name in TWELVE}, "file name without ending"),  # not imgid: 10 is its 2
        (["cam1/1.png", "cam2/1.png", "1.png"], None, "file name"),
        (["1000092795.jpg", "10002456.jpg"], {"1000092795.jpg": 1000092795, "10002456.jpg": 10002456}, "file name w"),
        (["b.png", "a.png"], {"b.png": 1, "a.png": 0}, "imgid"),
        (["sub/b.png"], {"sub/b.png": "images\\sub\\b.png"}, "file name"),
    ],
)
def test_a_picture_is_matched_by_its_name_before_any_number(segue, tmp_path, names, called, key):
    refs = written(tmp_path / "refs.json", karpathy(*names))
    answer = scored(segue, refs, written(tmp_path / "preds.json", said_of(*names, called=called)))
    assert answer["BLEU-1"] == pytest.approx(1, abs=1e-6)
    assert answer["matched_by"].startswith(key)
    assert answer["images"] == len(names)


def test_coco_and_tables_are_matched_by_file_name_too(segue, tmp_path):
    names = ["cam1/1.png", "cam2/1.png", "2.png"]
    preds = written(tmp_path / "preds.json", said_of(*names))
    images = [{"id": 3 - i, "file_name": name} for i, name in enumerate(names)]
    marks = [{"image_id": 3 - i, "caption": f"caption of {name} here"} for i, name in enumerate(names)]
    refs = written(tmp_path / "refs.json", {"images": images, "annotations": marks})
    assert scored(segue, refs, preds)["matched_by"] == "file name"
    table = tmp_path / "Flickr8k.token.txt"
    table.write_text("".join(f"{name}#{i}\tcaption of {name} here\n" for name in names for i in range(2)))
    assert scored(segue, table, preds)["BLEU-1"] == pytest.approx(1, abs=1e-6)


def test_ids_may_be_the_numbers_of_the_files(segue, tmp_path):
    rows = [{"image_id": i, "captions": [f"caption of {i}.png here"]} for i in (1, 2)]
    refs = written(tmp_path / "refs.jsonl", rows, lines=True)
    answer = scored(segue, refs, written(tmp_path / "preds.json", said_of("1.png", "2.png")))
    assert (answer["matched_by"], answer["BLEU-1"]) == ("image_id as file name", pytest.approx(1, abs=1e-6))


def test_numbers_that_mean_two_pictures_are_refused(segue, tmp_path):
    images = [{"id": 1, "file_name": "2.png"}, {"id": 2, "file_name": "1.png"}]
    marks = [{"image_id": i, "caption": "a dog"} for i in (1, 2)]
    refs = written(tmp_path / "refs.json", {"images": images, "annotations": marks})
    error = scored(segue, refs, written(tmp_path / "preds.json", SAID))
    assert "is one picture by its file name without ending and another by its image_id" in error


def test_cocos_twelve_digits_and_other_names_may_stand_side_by_side(segue, tmp_path):
    names, called = ["cam/1.png", "COCO_val2014_000000000042.jpg"], {"COCO_val2014_000000000042.jpg": 42}
    refs = written(tmp_path / "r.json", karpathy(*names))
    answer = scored(segue, refs, written(tmp_path / "p.json", said_of(*names, called=called)))
    assert (answer["matched_by"], answer["images"]) == ("file name or COCO's number in it", 2)


def test_twins_of_a_karpathy_json_are_refused(segue, tmp_path):
    refs = karpathy("1.png", "2.png")
    refs["images"][1]["filename"] = "1.png"
    error = scored(segue, written(tmp_path / "r.json", refs), written(tmp_path / "p.json", SAID))
    assert "image 1.png stands there twice" in error


def test_a_part_of_the_references_may_be_scored(segue, tmp_path):
    """The figures are those of the part alone; what is left out is counted, and a stray prediction still refused."""
    more = {"annotations": [*COCO["annotations"], *({"image_id": i, "caption": "a red bus"} for i in (3, 4, 5))]}
    refs, part = written(tmp_path / "refs.json", more), written(tmp_path / "part.json", COCO)
    preds = written(tmp_path / "preds.json", [SAID[0], {"image_id": 1, "caption": "a dog sits"}])
    ask = ("score", "captions", "--preds", preds, "--no-java", "--refs")
    status, output, error = segue(*ask, refs, "--only-predicted", "--json")
    assert (status, error) == (0, "")
    answer, alone = json.loads(output), json.loads(segue(*ask, part, "--json")[1])
    assert (answer.pop("not_predicted"), alone.pop("not_predicted")) == (3, 0)
    assert answer == alone
    assert "not_predicted  3\n" in segue(*ask, refs, "--only-predicted")[1]
    assert "3 of 5 images have no prediction" in segue(*ask, refs)[2]
    written(preds, [*SAID, {"image_id": 9, "caption": "x"}])
    assert "1 predictions are of images without references, such as 9" in segue(*ask, refs, "--only-predicted")[2]
    written(preds, [{"image_id": 9, "caption": "x"}])
    assert "none of 1 predictions is of an image there, such as 9" in segue(*ask, refs, "--only-predicted")[2]


def test_a_part_is_never_matched_by_imgid(segue, tmp_path):
    """A number of another split would be some picture's imgid here."""
    images = [one | {"imgid": at} for at, one in enumerate(KARPATHY["images"])]
    refs = written(tmp_path / "r.json", {"images": images})
    preds = written(tmp_path / "p.json", [{"image_id": 0, "caption": "a dog runs"}])
    status, _, error = segue("score", "captions", "--refs", refs, "--preds", preds, "--no-java", "--only-predicted")
    assert (status, "none of 1 predictions is of an image there, such as 0" in error) == (2, True)


def test_bad_references_may_be_skipped(segue, tmp_path):
    refs = written(tmp_path / "r.json", {"annotations": [*COCO["annotations"], {"image_id": 1, "caption": None}]})
    preds = written(tmp_path / "p.json", SAID)
    assert "1 captions can't be used" in scored(segue, refs, preds)
    base = ("score", "captions", "--refs", refs, "--preds", preds, "--no-java", "--json", "--on-bad", "skip")
    status, output, error = segue(*base)
    assert (status, json.loads(output)["images"]) == (0, 2)
    assert "skipped: " in error
    assert "1 captions can't be used" in error


def png(folder, name, pixels):
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.array(pixels, np.uint8)).save(folder / name)


def test_masks(segue, tmp_path):
    refs, preds = tmp_path / "refs", tmp_path / "preds"
    png(refs, "a.png", [[255, 255, 0]])
    png(preds, "b.png", [[255, 0, 0]])
    base = ("score", "masks", "--refs", refs, "--preds", preds, "--json")
    assert "1 of 1 predictions are missing, such as a.png" in segue(*base)[2]
    (preds / "b.png").rename(preds / "a.png")
    assert json.loads(segue(*base)[1])["iou"] == 0.5


def test_masks_of_any_ending_are_scored_and_none_is_left_out(segue, tmp_path):
    refs, preds = tmp_path / "refs", tmp_path / "preds"
    (refs / "sub").mkdir(parents=True)
    (preds / "sub").mkdir(parents=True)
    for folder, names in (
        (refs, ("a.png", "b.TIF", "C.PNG", "sub/a.png")),
        (preds, ("a.png", "b.png", "C.png", "sub/a.tif")),
    ):
        for name in names:
            png(folder, name, [[255, 255, 0]])
    base = ("score", "masks", "--refs", refs, "--preds", preds, "--json")
    assert json.loads(segue(*base)[1])["n"] == 4
    png(preds, "a.TIF", [[255, 255, 0]])
    assert "a.TIF and a.png are of one name" in segue(*base)[2]
    (preds / "a.TIF").rename(preds / "a.gif")
    assert "1 files of kinds that aren't scored, such as a.gif" in segue(*base)[2]
    (preds / "a.gif").unlink()
    png(preds, "d.TIF", [[255, 255, 0]])
    assert "1 files have no reference of that name, such as d.TIF" in segue(*base)[2]


def test_class_maps(segue, tmp_path):
    refs, preds = tmp_path / "refs", tmp_path / "preds"
    png(refs, "a.png", [[0, 1, 255]])
    png(preds, "a.png", [[0, 0, 1]])
    base = ("score", "masks", "--refs", refs, "--preds", preds, "--json", "--classes")
    answer = json.loads(segue(*base, 2)[1])
    assert (answer["miou"], answer["pixel_accuracy"]) == (0.25, 0.5)
    assert "a.png: the truth holds the value 1" in segue(*base, 1)[2]
    assert "classes: got 0, expected 1 or more" in segue(*base, 0)[2]


def test_panoptic(segue, tmp_path):
    row = {"image_id": 5, "file_name": "5.png", "segments_info": [{"id": 258, "category_id": 7, "iscrowd": 0}]}
    truth = {"annotations": [row], "categories": [{"id": 7, "name": "dog", "isthing": 1}]}
    refs, preds = written(tmp_path / "refs.json", truth), written(tmp_path / "preds.json", {"annotations": [row]})
    png(tmp_path / "maps", "5.png", [[[2, 1, 0], [0, 0, 0]]])
    dirs = ("--ref-dir", tmp_path / "maps", "--pred-dir", tmp_path / "maps")
    answer = json.loads(segue("score", "panoptic", "--refs", refs, "--preds", preds, *dirs, "--json")[1])
    assert answer["all"] == answer["things"] == {"pq": 1, "sq": 1, "rq": 1, "n": 1}
    assert answer["stuff"] == {"pq": None, "sq": None, "rq": None, "n": 0}
    assert answer["classes"]["dog"] == {"pq": 1, "sq": 1, "rq": 1, "tp": 1, "fp": 0, "fn": 0}
    twice = row | {"segments_info": row["segments_info"] * 2}
    written(preds, {"annotations": [twice]})
    assert (
        "two segments of the image 5 have one id"
        in segue("score", "panoptic", "--refs", refs, "--preds", preds, *dirs)[2]
    )
    written(preds, {"annotations": []})
    assert (
        "1 of 1 images are missing, such as 5" in segue("score", "panoptic", "--refs", refs, "--preds", preds, *dirs)[2]
    )
    written(preds, {"annotations": [{"image_id": 5}]})
    assert "not COCO's panoptic json" in segue("score", "panoptic", "--refs", refs, "--preds", preds, *dirs)[2]


def class_maps(tmp_path, kind, name, values, **more):
    (tmp_path / kind).mkdir(exist_ok=True)
    Image.fromarray(np.asarray(values)).save(tmp_path / kind / name, **more)


def test_class_maps_are_read_as_label_maps_are(segue, tmp_path):
    """Upright by their EXIF; fractions and JPEG are refused, which were cut to whole numbers, or others at edges."""
    values = np.zeros((8, 12), np.uint8)
    values[:4] = 1
    class_maps(tmp_path, "refs", "a.png", values)
    upside_down = Image.Exif()
    upside_down[274] = 3
    ask = ("score", "masks", "--refs", tmp_path / "refs", "--preds", tmp_path / "preds", "--classes", 2, "--json")
    class_maps(tmp_path, "preds", "a.png", values[::-1, ::-1], exif=upside_down)
    assert json.loads(segue(*ask)[1])["miou"] == 1
    for name, given, message in (("a.tif", values * np.float32(0.5), "mode F"), ("a.jpg", values, "a JPEG")):
        (tmp_path / "preds/a.png").unlink(missing_ok=True)
        class_maps(tmp_path, "preds", name, given)
        status, _, error = segue(*ask)
        assert (status, message in error) == (2, True), error
        (tmp_path / "preds" / name).unlink()


def test_whole_numbers_with_a_point_are_ids_and_a_key_twice_is_no_record(segue, tmp_path):
    """As pandas writes a column of ids with a gap; of two captions in one record the first was lost."""
    refs = written(tmp_path / "refs.json", COCO)
    preds = written(tmp_path / "preds.json", [one | {"image_id": float(one["image_id"])} for one in SAID])
    assert scored(segue, refs, preds)["images"] == 2
    (tmp_path / "twice.json").write_text(json.dumps(SAID).replace('"caption":', '"caption": "x", "caption":'))
    assert 'has the key "caption" twice' in scored(segue, refs, tmp_path / "twice.json")
