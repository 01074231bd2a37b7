"""For tests of describers: a tiny model on disk, and one toy picture with its graph in the formats that are read."""

import json

from methods.sgdiff.toys import SIDE, toy_example, toy_model
from segue.data import rle
from segue.data.images import write_image
from segue.methods.sgdiff.checkpoint import save

IMAGE, PICTURE, _ = toy_example()
REGIONS, RELATIONS = PICTURE.regions, PICTURE.relations
LEFT = REGIONS[0].box


def save_model(folder):
    """A network that is not trained, whose words all begin phrases and whose masks fill their boxes."""
    model = toy_model()
    model.caption_head.tags.bias.data[1] += 50
    model.mask_head.mask_embedding[-1].bias.data[-1] += 50
    save(model, folder)
    return folder


def visual_genome():
    boxes = [dict(zip("xywh", region.box, strict=True)) for region in REGIONS]
    objects = [
        {"object_id": 10 + i, "names": [r.label]} | b for i, (r, b) in enumerate(zip(REGIONS, boxes, strict=True))
    ]
    edges = [{"subject_id": 10 + r.subject, "predicate": r.predicate, "object_id": 10 + r.object} for r in RELATIONS]
    return {"image_id": 7, "objects": objects, "relationships": edges}


def coco():
    marks = [
        {"id": i, "image_id": 7, "category_id": i, "bbox": list(r.box), "segmentation": rle.to_json(r.mask)}
        for i, r in enumerate(REGIONS)
    ]
    categories = [{"id": i, "name": r.label} for i, r in enumerate(REGIONS)]
    images = [{"id": n, "file_name": f"{n}.png", "width": SIDE, "height": SIDE} for n in (6, 7)]
    return {"images": images, "annotations": marks, "categories": categories}


def write_files(folder):
    """7.png and its graph, in vg.json and coco.json."""
    write_image(IMAGE, folder / "7.png")
    (folder / "vg.json").write_text(json.dumps([visual_genome(), {"image_id": 8, "objects": []}]))
    (folder / "coco.json").write_text(json.dumps(coco()))
    return folder
