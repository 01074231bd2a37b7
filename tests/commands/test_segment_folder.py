"""`segue segment` by notes: what is done of a folder, and where masks go."""

import json

import numpy as np
import pytest
from PIL import Image

from data.medical.test_volumes import dicom, nibabel
from segue.data.images import read_mask

PLANE = np.add.outer(np.arange(32), np.arange(40)) * 50


@pytest.fixture
def segment(segue, tiny_model):
    def run(*args):
        status, output, error = segue("segment", *args, "--note", "one area", "--model", tiny_model, "--json")
        return status, [json.loads(line) for line in output.splitlines()], error

    return run


def nifti(path):
    nibabel.save(
        nibabel.Nifti1Image(np.arange(8 * 9 * 3, dtype=np.int16).reshape(8, 9, 3), np.diag([1, 1, 2, 1])), path
    )


def test_masks_of_dotted_names_are_apart(segment, tmp_path):
    """Names of UIDs were cut at their first dot: all scans of a study wrote into 1.mask.nii.gz."""
    names = ["1.2.840.1.dcm", "1.2.840.2.dcm", "1.2.840.113619"]
    for name in names:
        dicom(tmp_path / name, PLANE)
    for name in ("patient.v2.nii.gz", "patient.v3.nii.gz"):
        nifti(tmp_path / name)
    Image.new("RGB", (40, 32)).save(tmp_path / "a.b.png")
    masks = [
        segment(tmp_path / path)[1][0]["mask"] for path in (*names, "patient.v2.nii.gz", "patient.v3.nii.gz", "a.b.png")
    ]
    stems = ["1.2.840.1", "1.2.840.2", "1.2.840.113619", "patient.v2", "patient.v3"]
    assert masks == [*(f"{stem}.mask.nii.gz" for stem in stems), "a.b.mask.png"]
    assert all((tmp_path / mask).is_file() for mask in masks)


@pytest.mark.parametrize("name", ["scan.png", "scan.nii.gz", "folder"])
def test_a_default_target_that_is_there_is_not_written_over(segment, tmp_path, name):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "scan.png", tmp_path / "folder" / "scan.png"):
        Image.new("RGB", (40, 32)).save(path)
    nifti(tmp_path / "scan.nii.gz")
    status, (answer,), _ = segment(tmp_path / name)
    assert status == 0
    (tmp_path / answer["mask"]).write_bytes(b"mended by hand")
    status, _, error = segment(tmp_path / name)
    assert (status, error) == (
        2,
        f"segue: {answer['mask']}: is there already; name another place by --out, or remove it\n",
    )
    assert (tmp_path / answer["mask"]).read_bytes() == b"mended by hand"
    out = tmp_path / answer["mask"] if name != "folder" else "masks"
    assert segment(tmp_path / name, "-o", out)[0] == 0  # named, so it is meant
    assert (tmp_path / answer["mask"]).read_bytes() != b"mended by hand"


def test_no_scan_and_no_picture_is_written_over(segment, tmp_path):
    nifti(tmp_path / "scan.nii.gz")
    Image.new("RGB", (40, 32)).save(tmp_path / "scan.png")
    for name, option in (("scan.nii.gz", "-o"), ("scan.png", "--coco")):
        before = (tmp_path / name).read_bytes()
        status, _, error = segment(tmp_path / name, option, tmp_path / name)
        assert (status, "would be written over a picture that is read" in error) == (2, True)
        assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    ("image", "out", "message"),
    [
        ("scan.png", "mask.jpg", "mask.jpg: what is found is written as .png; name it mask.png"),
        ("scan.png", "folder", "folder: a folder, expected the name of a file to write"),
        ("scan.nii.gz", "mask.png", "mask.png: what is found is written as .nii.gz; name it mask.nii.gz"),
        ("folder", "scan.png", "scan.png: a file, expected a folder for the masks"),
        ("folder", "folder", "folder: masks would be written among the pictures, over those of such names"),
    ],
)
def test_an_out_that_can_not_be_written_is_refused_before_the_model_runs(
    segment, tmp_path, monkeypatch, image, out, message
):
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (40, 32)).save(tmp_path / "scan.png")
    Image.new("RGB", (40, 32)).save(tmp_path / "folder" / "scan.jpg")
    nifti(tmp_path / "scan.nii.gz")
    monkeypatch.setattr("segue.api.segmenter.load_segmenter", lambda *_, **__: pytest.fail("it was loaded"))
    status, _, error = segment(tmp_path / image, "-o", tmp_path / out)
    assert (status, message in error) == (2, True)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["scan.jpg"]


def test_twins_in_two_folders_keep_apart(segue, tiny_model, tmp_path):
    for i, name in enumerate(("a/scan.png", "b/scan.png")):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (40 + i, 32)).save(tmp_path / name)
    (tmp_path / "notes.csv").write_text("image,note\na/scan.png,x\nb/scan.png,x\nb/scan.png,y\n")
    run = (
        "segment",
        tmp_path,
        "--notes",
        tmp_path / "notes.csv",
        "--model",
        tiny_model,
        "-o",
        tmp_path / "m",
        "--json",
    )
    status, output, _ = segue(*run)
    answers = [json.loads(line) for line in output.splitlines()]
    assert status == 0
    assert [a["image"] for a in answers] == ["a/scan.png", "b/scan.png", "b/scan.png"]
    assert [a["mask"] for a in answers] == [
        str(tmp_path / "m" / n) for n in ("a/scan.png", "b/scan.png", "b/scan-2.png")
    ]
    assert [read_mask(tmp_path / a["mask"]).shape for a in answers] == [(32, 40), (32, 41), (32, 41)]
    (tmp_path / "notes.csv").write_text("image,note\n../scan.png,x\n")
    assert "'../scan.png' lies outside" in segue(*run)[2]


def test_names_that_differ_in_their_ending_keep_it(segment, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("scan.png", "scan.jpg", "other.png"):
        Image.new("RGB", (40, 32)).save(tmp_path / "in" / name)
    status, answers, _ = segment(tmp_path / "in", "-o", tmp_path / "m")
    assert status == 0
    masks = {a["image"]: a["mask"] for a in answers}
    assert masks == {
        name: str(tmp_path / "m" / f"{mask}.png")
        for name, mask in (("other.png", "other"), ("scan.jpg", "scan.jpg"), ("scan.png", "scan.png"))
    }


def test_a_mixed_folder_is_done_and_the_rest_is_named(segment, tmp_path):
    """The PNG was done, and not a word of the scans beside it."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    Image.new("RGB", (40, 32)).save(folder / "a.png")
    dicom(folder / "b.dcm", PLANE, SeriesInstanceUID="1.9")
    nifti(folder / "c.nii.gz")
    for i in range(3):
        dicom(folder / f"IM{i:04d}", PLANE + i, (0.0, 0.0, 3.0 * i))
    dicom(folder / "bad.dcm", np.stack([PLANE] * 2), NumberOfFrames=2, Rows=32, Columns=40, SeriesInstanceUID="1.8")
    for name in ("brain.mgz", "notes.txt", ".hidden"):
        (folder / name).touch()
    (folder / "deeper").mkdir()
    status, answers, error = segment(folder, "-o", tmp_path / "m")
    assert {a["image"]: a["mask"].rpartition("/")[2] for a in answers} == {
        "a.png": "a.png", "b.dcm": "b.nii.gz", "c.nii.gz": "c.nii.gz", "mixed": "mixed.nii.gz"
    }  # fmt: skip
    assert nibabel.load(tmp_path / "m" / "mixed.nii.gz").shape == (40, 32, 3)
    assert status == 2
    assert "3 of 10 are left out (1 .mgz, 1 folders, 1 .txt), such as brain.mgz" in error
    assert "1 of 5 pictures have no mask" in error
    assert "bad.dcm: a multi-frame file of 2 frames" in error


def test_several_series_of_a_folder_and_radiographs_without_a_place(segment, tmp_path):
    for i in range(4):
        dicom(tmp_path / f"IM{i}", PLANE, (0.0, 0.0, 3.0 * i), SeriesInstanceUID=f"1.2.{i % 2}")
    for name in ("frontal", "lateral"):
        dicom(tmp_path / name, PLANE, ImagePositionPatient=None, ImageOrientationPatient=None)
    status, answers, error = segment(tmp_path, "-o", tmp_path / "m")
    assert (status, error) == (0, "")
    masks = {a["image"]: (len(a["area_by_slice"]), a["mask"].rpartition("/")[2]) for a in answers}
    assert masks == {
        "1.2.0": (2, "1.2.0.nii.gz"), "1.2.1": (2, "1.2.1.nii.gz"),
        "frontal": (1, "frontal.nii.gz"), "lateral": (1, "lateral.nii.gz"),
    }  # fmt: skip


def test_coco_and_a_folder_with_volumes(segment, tmp_path):
    nifti(tmp_path / "c.nii.gz")
    status, _, error = segment(tmp_path, "--coco", tmp_path / "all.json")
    assert (status, "--coco takes flat pictures, and there are volumes" in error) == (2, True)


def test_instances_are_counted_and_numbered(segment, tmp_path):
    """Of each picture of a folder, and of one; a volume is refused."""
    pictures = tmp_path / "in"
    pictures.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 32)).save(pictures / name)
    status, answers, _ = segment(pictures, "--instances", "--threshold", "0.001", "-o", tmp_path / "out")
    assert (status, [a["instances"] for a in answers]) == (0, [1, 1])
    numbers = np.array(Image.open(tmp_path / "out" / "a.instances.png"))
    assert (numbers.shape, numbers.min(), numbers.max()) == ((32, 40), 1, 1)
    assert (tmp_path / "out" / "a.instances.png").read_bytes()[24] == 16  # bits of a grey, by PNG's header
    status, answers, _ = segment(pictures / "a.png", "--instances", "--threshold", "0.999", "-o", tmp_path / "m.png")
    assert (status, answers[0]["instances"], answers[0]["instance_map"]) == (0, 0, str(tmp_path / "m.instances.png"))
    nifti(pictures / "c.nii.gz")
    status, _, error = segment(pictures, "--instances", "-o", tmp_path / "other")
    assert (status, "--instances takes flat pictures, and there are volumes" in error) == (2, True)
    status, _, error = segment(pictures / "c.nii.gz", "--instances", "-o", tmp_path / "c.nii.gz")
    assert (status, "--instances takes a flat picture" in error) == (2, True)
