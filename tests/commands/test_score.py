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
    status, told, error = segue("score", "captions", "--refs", refs, "--preds", preds, "--no-java", "--json")
    assert (status, error) == (0, "")
    answer = json.loads(told)
    assert answer["BLEU-1"] == pytest.approx(1, abs=1e-6)
    assert (answer["ROUGE-L"], answer["images"], answer["empty_predictions"]) == (1, 2, 0)


def test_restval_joins_train(segue, tmp_path):
    refs, preds = written(tmp_path / "r.json", KARPATHY), written(tmp_path / "p.json", SAID[1:])
    base = ("score", "captions", "--refs", refs, "--preds", preds, "--no-java", "--json")
    assert json.loads(segue(*base, "--split", "train")[1])["images"] == 1
    assert "no image is of split 'val'; it has restval, test" in segue(*base, "--split", "val")[2]


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
        ({"a": 1}, SAID, "expected COCO's captions json"),
        ([{"image_id": 1, "captions": []}], SAID, 'no list of texts "captions"'),
        ([{"image_id": 1, "captions": ["x"]}] * 2, SAID, "image 1 stands there twice"),
    ],
)
def test_each_bad_file_has_one_clear_answer(segue, tmp_path, refs, preds, message):
    refs, preds = written(tmp_path / "refs.json", refs), written(tmp_path / "preds.json", preds)
    status, told, error = segue("score", "captions", "--refs", refs, "--preds", preds, "--no-java")
    assert (status, told) == (2, "")
    assert message in error
    assert len(error.splitlines()) == 1


def test_files_that_are_no_json(segue, tmp_path):
    preds = written(tmp_path / "preds.json", SAID)
    (tmp_path / "broken.json").write_text("{")
    for refs, message in (("broken.json", "not JSON"), ("none.json", "can't be read as UTF-8 text")):
        status, _, error = segue("score", "captions", "--refs", tmp_path / refs, "--preds", preds)
        assert status == 2
        assert message in error


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


def test_masks_pair_by_name_whatever_the_format_and_nothing_is_left_out_in_silence(segue, tmp_path):
    """A reference in TIFF, and one that ends in .PNG, were left out: the score was of the rest."""
    refs, preds = tmp_path / "refs", tmp_path / "preds"
    for name in ("a.png", "b.tif", "c.PNG"):
        png(refs, name, [[255, 255, 0]])
    png(preds, "a.png", [[255, 255, 0]])
    png(preds, "b.png", [[255, 0, 0]])
    base = ("score", "masks", "--refs", refs, "--preds", preds, "--json")
    assert "1 of 3 predictions are missing, such as c.PNG" in segue(*base)[2]
    png(preds, "c.png", [[0, 0, 0]])
    (preds / "log.txt").touch()
    _, told, error = segue(*base)
    assert json.loads(told)["iou"] == 0.5
    assert f"{preds}: 1 of 4 are left out (1 .txt), such as log.txt" in error
    png(refs, "b.png", [[255, 255, 0]])
    assert "both b.png and b.tif, expected one of a name" in segue(*base)[2]


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
    written(preds, {"annotations": []})
    assert (
        "1 of 1 images are missing, such as 5" in segue("score", "panoptic", "--refs", refs, "--preds", preds, *dirs)[2]
    )
    written(preds, {"annotations": [{"image_id": 5}]})
    assert "not COCO's panoptic json" in segue("score", "panoptic", "--refs", refs, "--preds", preds, *dirs)[2]
