"""ImageNet-S: numbers in two colours, the order and the names of the classes."""

import numpy as np
import pytest
from PIL import Image

from data.formats.true_formats import paint, put
from segue.data.formats import check_pictures, detect_format, read_pictures
from segue.data.visualize import contact_sheet
from segue.evaluation.labels import score_pictures, with_truth
from segue.methods.cocu.inference import LabelMap
from segue.methods.cocu.protocols import PROTOCOLS
from segue.types import InputError


def write(root, count=50, values=(0, 7, 1000)):
    """ImageNet-S of `count` classes, one picture in the 7th or last, whose label map has the values in columns."""
    wnids = [f"n{1000 + i:08d}" for i in range(count)]
    for wnid in wnids:
        (root / "validation-segmentation" / wnid).mkdir(parents=True, exist_ok=True)
    paint(root / f"validation/{wnids[min(6, count - 1)]}/ILSVRC2012_val_00000001.JPEG", (3 * len(values), 8))
    numbers = np.repeat(np.asarray(values), 3)[None].repeat(8, 0)
    colours = np.stack([numbers % 256, numbers // 256, np.zeros_like(numbers)], -1).astype(np.uint8)
    Image.fromarray(colours).save(
        root / f"validation-segmentation/{wnids[min(6, count - 1)]}/ILSVRC2012_val_00000001.png"
    )
    put(root / "LOC_synset_mapping.txt", "".join(f"{w} Name {i}, other name\n" for i, w in enumerate(wnids)))
    return wnids


def test_fifty_classes_fit_a_byte(tmp_path):
    write(tmp_path)
    assert detect_format(tmp_path) == ("imagenet-s", ("val",))
    found = check_pictures(read_pictures(tmp_path, "val"))
    assert found.classes[:2] == ("background", "name 0")
    assert len(found.classes) == 51
    labels = found.pictures[0].label_map()
    assert labels.dtype == np.uint8
    assert labels[0].tolist() == [0, 0, 0, 7, 7, 7, 255, 255, 255]


def test_the_folder_of_the_archive_may_lie_in_the_one_that_is_given(tmp_path):
    write(tmp_path / "ImageNetS50")
    assert detect_format(tmp_path) == ("imagenet-s", ("val",))
    assert len(read_pictures(tmp_path, "val").pictures) == 1
    write(tmp_path / "ImageNetS50-copy")
    with pytest.raises(InputError, match="format"):
        detect_format(tmp_path)


def test_three_hundred_classes_take_two_bytes_and_are_scored(tmp_path):
    write(tmp_path, 300, (0, 299, 1000))
    found = read_pictures(tmp_path, "val")
    labels = found.pictures[0].label_map()
    assert labels.dtype == np.uint16
    assert labels[0, ::3].tolist() == [0, 299, 65535]
    pictures, classes, truth = with_truth(found, PROTOCOLS["imagenet-s-300"])
    assert classes == found.classes

    class Answers:
        def chosen_protocol(self, options):
            return PROTOCOLS["imagenet-s-300"]

        def segment(self, image, names, *, options):
            index = np.full(image.shape[:2], names.index("name 298"), np.uint16)
            index[:, :2] = 65535
            return LabelMap(tuple(names), index, np.ones(index.shape, np.float32), np.ones(len(names), np.float32))

    ious, accuracy = score_pictures(Answers(), pictures, classes, truth)
    assert accuracy == 5 / 6  # the ignored pixels count nowhere
    assert (ious[0], ious[299]) == (2 / 3, 3 / 4)
    assert np.isnan(ious[1:299]).all()
    assert contact_sheet(found.pictures).size  # it can be shown


def test_the_order_of_the_classes_is_given_or_known(tmp_path):
    wnids = write(tmp_path, 4)
    with pytest.raises(InputError, match=r"got 4 folders of classes; expected all 50 or 300.*ImageNetS_categories_im4"):
        read_pictures(tmp_path, "val")
    put(tmp_path / "ImageNetS_categories_im4.txt", "\n".join(wnids[::-1]))
    assert read_pictures(tmp_path, "val").classes == ("background", *(f"name {i}" for i in (3, 2, 1, 0)))
    put(tmp_path / "ImageNetS_categories_im4.txt", "\n".join(wnids[1:]))
    with pytest.raises(InputError, match="lists other classes"):
        read_pictures(tmp_path, "val")


def test_what_is_wrong_is_reported(tmp_path):
    wnids = write(tmp_path, values=(0, 51))
    with pytest.raises(InputError, match="the value 51 stands for none of 51 classes"):
        check_pictures(read_pictures(tmp_path, "val"))
    paint(tmp_path / f"validation/{wnids[0]}/b.JPEG")
    with pytest.raises(InputError, match=r"b.JPEG: no label map of that name"):
        read_pictures(tmp_path, "val")
    names = tmp_path / "LOC_synset_mapping.txt"
    names.write_text(names.read_text().replace(f"{wnids[3]} Name 3", f"{wnids[3]} Name 2"))
    with pytest.raises(InputError, match=f"'name 2' names {wnids[2]}, {wnids[3]}; give each another name"):
        read_pictures(tmp_path, "val")
    names.write_text(f"{wnids[0]} Name 0\n")
    with pytest.raises(InputError, match=f"no name of {wnids[1]}"):
        read_pictures(tmp_path, "val")
    names.unlink()
    with pytest.raises(InputError, match="no names of the classes"):
        read_pictures(tmp_path, "val")


def test_two_pictures_of_one_path_are_reported(tmp_path):
    wnid = write(tmp_path)[6]
    paint(tmp_path / f"validation/{wnid}/ILSVRC2012_val_00000001.png", (9, 8))
    with pytest.raises(InputError, match=f"{wnid}/ILSVRC2012_val_00000001: 2 pictures differ in their endings only"):
        read_pictures(tmp_path, "val")
