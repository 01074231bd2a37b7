import errno
import functools
import json
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from inspect import signature
from pkgutil import resolve_name

import numpy as np
import pytest
from PIL import Image

from segue import cli
from segue.commands import parsing

NOTE = "two infected areas, all left lung"


def test_every_command_that_runs_a_model_takes_a_gpu_where_there_is_one():
    """Where it has `--device`."""
    tables = [*cli.COMMANDS.values(), *resolve_name(cli.COMMANDS["data"]).values()]
    functions = [found for where in tables if callable(found := resolve_name(where))]
    devices = {f.__name__: p.default for f in functions if (p := signature(f).parameters.get("device"))}
    assert set(devices.values()) == {"auto"}
    assert {"segment", "caption", "describe", "draw", "caption_layout", "embed", "curate", "evaluate"} <= set(devices)


def test_version(segue):
    assert segue("--version") == (0, "segue 0.2.0\n", "")


@pytest.mark.parametrize(("given", "rare"), [("", True), ("['--version']", False)])
def test_a_process_of_its_own_seldom_looks_for_cycles(given, rare):
    """What is called inside another program leaves that as it is."""
    code = f"""
import gc, sys
sys.argv = ["segue", "--version"]
from segue.cli import main
main({given})
print(gc.get_threshold()[0] > 5000, gc.get_freeze_count() > 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["segue 0.2.0", f"{rare} {rare}"]


def test_segment_writes_mask_and_overlay_and_tells_numbers(segue, tiny_model, picture, tmp_path):
    out = tmp_path / "out" / "mask.png"
    status, output, _ = segue("segment", picture, "--note", NOTE, "--model", tiny_model, "-o", out, "--json")
    answer = json.loads(output)
    mask = np.asarray(Image.open(out))
    assert status == 0
    assert mask.shape == (40, 56)
    assert set(np.unique(mask)) <= {0, 255}
    assert answer["area"] == int((mask > 0).sum())
    assert answer["note"] == NOTE
    assert answer["score"] is None if answer["area"] == 0 else answer["threshold"] <= answer["score"] <= 1
    assert Image.open(answer["overlay"]).size == (56, 40)


def test_segment_writes_attributions(segue, tiny_model, picture, tmp_path):
    out = tmp_path / "mask.png"
    status, output, _ = segue(
        "segment", picture, "--note", NOTE, "--model", tiny_model, "-o", out, "--json", "--attribution"
    )
    answer = json.loads(output)
    assert status == 0
    assert Image.open(answer["patches"]).size == Image.open(answer["gradcam"]).size == (56, 40)
    assert "left" in [word for word, _ in answer["words"]]


def test_segment_a_folder_by_a_csv_of_notes(segue, tiny_model, picture, tmp_path):
    (tmp_path / "notes.csv").write_text(f'image,note\nscan.png,"{NOTE}"\nscan.png,\n')
    out = tmp_path / "masks"
    status, output, _ = segue(
        "segment", tmp_path, "--notes", tmp_path / "notes.csv", "--model", tiny_model, "-o", out, "--json"
    )
    answers = [json.loads(line) for line in output.splitlines()]
    assert status == 0
    assert [a["note"] for a in answers] == [NOTE, None]
    assert [a["mask"] for a in answers] == [str(out / "scan.png"), str(out / "scan-2.png")]
    assert (out / "scan-2.png").exists()


@pytest.mark.parametrize("how", [("--note", NOTE), ("--labels", "dog, sky")])
def test_no_picture_is_written_over_and_no_answer_lost(segue, tiny_model, picture, tmp_path, how):
    before = picture.read_bytes()
    among = "masks" if how[0] == "--note" else "maps"
    for place, message in (
        (picture, "would be written over a picture that is read"),
        (picture.parent, f"{among} would be"),
    ):
        status, _, error = segue("segment", place, *how, "--model", tiny_model, "-o", place)
        assert (status, message in error) == (2, True)
    assert picture.read_bytes() == before
    Image.open(picture).save(picture.with_name("scan.overlay.png"))
    status, _, error = segue("segment", picture.parent, *how, "--model", tiny_model, "-o", tmp_path / "masks")
    assert (status, "two answers would be written there, to scan.overlay.png and scan.png" in error) == (2, True)


def test_a_folder_in_the_way_is_reported_in_one_line(segue, tiny_model, picture, tmp_path):
    (tmp_path / "mask.png").mkdir()
    status, _, error = segue("segment", picture, "--note", NOTE, "--model", tiny_model, "-o", tmp_path / "mask.png")
    assert (status, error) == (
        2,
        f"segue: {tmp_path / 'mask.png'}: a folder, expected the name of a file to write; name one in it\n",
    )


def test_a_runs_folder_means_its_best(segue, tiny_model, picture, tmp_path):
    for kept in ("last", "best"):
        shutil.copytree(tiny_model, tmp_path / "run" / kept)
        options = ("--model", tmp_path / "run", "-o", tmp_path / "m.png")
        assert segue("segment", picture, "--note", NOTE, *options)[0] == 0
    (tmp_path / "run" / "last" / "model.safetensors").unlink()
    assert segue("segment", picture, "--note", NOTE, *options)[0] == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("segment", "x.png", "--device", "tpu"), "device 'tpu': not there"),
        (("segment", "x.png", "--window", -5), "window: got -5, expected 32 or more"),
        (("segment", "x.png", "--note", "x", "--labels", "a, b"), "--note and --labels exclude each other"),
        (("serve", "--port", 99_999), "port: got 99999, expected 0 or more, less than 65536"),
        (("serve", "--waiting", 0), "waiting: got 0, expected more than 0"),
        (("serve", "--gather", -1), "gather: got -1.0, expected 0 or more"),
        (("lab", "claims", "--out", "c.md", "--results", "nowhere"), "no results there"),
    ],
)
def test_values_that_mean_nothing_are_refused(segue, tiny_model, picture, monkeypatch, args, message):
    monkeypatch.chdir(picture.parent)
    args = tuple(picture if a == "x.png" else a for a in args)
    more = ("--model", tiny_model) if args[0] == "segment" else ()
    status, _, error = segue(*args, *more)
    assert (status, message in error) == (2, True), error
    assert error.count("\n") == 1


def test_one_bad_picture_in_a_folder_is_named_and_the_others_are_done(segue, tiny_model, picture, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    status, output, error = segue("segment", tmp_path, "--note", NOTE, "--model", tiny_model, "-o", tmp_path / "m")
    assert status == 2
    assert "1 of 2 pictures have no mask" in error
    assert "broken.png" in error
    assert (tmp_path / "m/scan.png").exists()
    assert "scan.png" in output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("segment", "{tmp}/none.png"), "no such file; give a picture"),
        (
            ("segment", "{picture}", "--model", "gpt"),
            "model 'gpt': neither a folder nor a bundled model; bundled are:",
        ),
        (("segment", "{picture}", "--note", "x", "--notes", "y.csv"), "got both --note and --notes"),
        (("segment", "{tmp}", "--notes", "{tmp}/none.csv"), "give a CSV with the columns image,note"),
        (("segment", "{picture}", "--model", "{model}", "--attribution"), "give a --note"),
        (
            ("segment", "{picture}", "--model", "{model}", "--note", " "),
            "leave it out (None) to segment without a note",
        ),
        (("eval", "{model}", "--data", "{tmp}"), "Test_Folder"),
        (("train", "reclmis-lungs"), "segue train 'reclmis-lungs': expected one of"),
        (("train", "reclmis", "--data", "{tmp}/nowhere"), "nowhere"),
        (("lab", "run", "nonsense"), "table 'nonsense': expected one of"),
        (("lab", "report", "--results", "{tmp}/nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_status_2(segue, tiny_model, picture, tmp_path, args, message):
    words = [a.format(tmp=tmp_path, picture=picture, model=tiny_model) for a in args]
    status, _, error = segue(*words)
    assert status == 2
    assert error.startswith("segue: ")
    assert error.count("\n") == 1
    assert message in error


def test_segment_a_volume_onto_its_own_grid(segue, tiny_model, tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="the extra `medical` is not installed")
    affine = np.array([[-0.7, 0, 0, 10], [0, 0, 2.5, -3], [0, 0.9, 0, 4], [0, 0, 0, 1.0]])
    values = np.random.default_rng(0).normal(size=(12, 5, 9)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "study.nii.gz")
    out = tmp_path / "mask.nii.gz"
    status, output, _ = segue(
        "segment", tmp_path / "study.nii.gz", "--note", NOTE, "--model", tiny_model, "-o", out, "--json"
    )
    answer, mask = json.loads(output), nibabel.load(out)
    assert status == 0
    assert mask.shape == (12, 5, 9)
    np.testing.assert_allclose(mask.affine, affine)
    assert len(answer["area_by_slice"]) == 5  # axial slices, whatever axis of the file they lie on
    assert answer["voxels"] == int(np.asarray(mask.dataobj).sum()) == sum(answer["area_by_slice"])


def test_data_make_draws_what_data_check_finds_sound(segue, tmp_path):
    out = tmp_path / "chest"
    assert segue("data", "make", "chest", "--out", out, "--train", 3, "--val", 1, "--test", 1, "--size", 64)[0] == 0
    status, output, _ = segue("data", "check", out, "--json")
    assert status == 0
    assert json.loads(output)["findings"] == []


def test_what_writes_a_file_says_as_json_where(segue, tiny_model, tmp_path):
    made = ("data", "make", "chest", "-o", tmp_path / "chest", "--train", 3, "--val", 1, "--test", 0, "--size", 64)
    shown = ("data", "show", tmp_path / "chest", "-o", tmp_path / "sheet.png")
    answers = [json.loads(segue(*words, "--json")[1]) for words in (made, shown, ("export", tiny_model, "-o", "small"))]
    assert answers[0] == {"saved_to": str(tmp_path / "chest"), "train": 3, "val": 1, "test": 0, "size": 64}
    assert answers[1] == {"saved_to": str(tmp_path / "sheet.png"), "pictures": 3}
    assert (answers[2]["saved_to"], answers[2]["differs_from_torch_by"]) == ("small", {})
    assert answers[2]["megabytes"] > 0


def test_a_command_without_an_answer_takes_no_json(segue):
    """It was once passed over in silence."""
    status, _, error = segue("serve", "--json")
    assert (status, "--json" in error) == (2, True)


def test_eval_prints_its_keys(segue, tiny_model, tmp_path):
    out = tmp_path / "chest"
    segue("data", "make", "chest", "--out", out, "--train", 0, "--val", 0, "--test", 3, "--size", 64)
    status, output, _ = segue("eval", tiny_model, "--data", out, "--split", "test", "--json")
    assert status == 0
    result = json.loads(output)
    assert {"dice", "iou", "miou", "n", "empty_policy"} <= set(result)
    assert (result["n"], result["empty_policy"]) == (3, "one")


def test_the_demo_writes_a_page_with_its_pictures(segue, tiny_model, tmp_path):
    status, output, _ = segue("demo", "--out", tmp_path / "demo", "--model", tiny_model, "--pictures", 2)
    page = (tmp_path / "demo/index.html").read_text()
    assert status == 0
    assert output.strip() == str(tmp_path / "demo/index.html")
    shown = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert len(shown) >= 6
    assert all((tmp_path / "demo" / name).exists() for name in shown)
    assert "jobs.png" in shown
    assert "not for diagnosis" in page


def test_a_warning_of_ours_is_one_line_and_others_are_shown_as_they_are(segue, monkeypatch):
    from segue import cli

    def warn(*_):
        warnings.warn_explicit("mind the gap", UserWarning, cli.__file__, 1)
        warnings.warn_explicit("not ours", UserWarning, "elsewhere.py", 7)

    monkeypatch.setattr(cli, "_run", warn)
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        _, _, error = segue("caption", "x.png")
    assert error == "segue: warning: mind the gap\n"
    assert [str(one.message) for one in others] == ["not ours"]


def test_a_warning_of_each_of_a_thousand_pictures_is_some_lines_and_a_count(segue, monkeypatch):
    from segue import cli
    from segue.data.picture_files import PictureWarning

    def warn(*_):
        for i in range(1000):
            warnings.warn_explicit(PictureWarning(f"{i}.png: clear", "transparent"), None, cli.__file__, 1)

    monkeypatch.setattr(cli, "_run", warn)
    _, _, error = segue("caption", "x.png")
    lines = error.splitlines()
    assert lines[:5] == [f"segue: warning: {i}.png: clear" for i in range(5)]
    assert lines[5:] == ["segue: warning: transparent: 995 more pictures"]


@pytest.mark.parametrize("talk", ["[print('x' * 9999, flush=True) for _ in range(99)]", "input(); print('a word')"])
def test_a_reader_that_has_seen_enough_ends_the_command_quietly(talk):
    code = f"""
import segue.cli as cli
def talk():
    {talk}
cli.COMMANDS = dict(talk=talk, more=talk)
cli.main(["talk"])
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.close()
        process.stdin.write(b"go\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "segue: No space left on device; make room"),
        (OSError(errno.ENOSPC, "No space left on device", "out/a"), "segue: out/a: No space left on device; make room"),
        (OSError("1000 requested and 512 written"), "segue: 1000 requested and 512 written; make room"),
        (OSError(errno.EROFS, "Read-only file system", "out"), "segue: out: Read-only file system\n"),
    ],
)
def test_a_full_disk_is_one_sentence(segue, monkeypatch, error, words):
    """An error without a file's name, as libraries raise it, was a traceback."""

    def fail() -> None:
        """Fails."""
        raise error

    monkeypatch.setitem(cli.COMMANDS, "fail", fail)
    status, _, message = segue("fail")
    assert status == 2
    assert message.startswith(words)
    assert message.count("\n") == 1


WAIT = """
import signal, time
from segue import cli

signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a script begin with it ignored

def wait() -> None:
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("put away", flush=True)

cli.COMMANDS["wait"] = wait
cli.main(["wait"])
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_command_puts_away_what_it_has_begun_and_says_so(number, status):
    process = subprocess.Popen([sys.executable, "-c", WAIT], stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (status, "put away\n", "segue: stopped\n")


def test_a_closed_standard_output_is_no_error():
    line = f"{sys.executable} -m segue --version >&-"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_help_shows_every_command_in_a_group_with_an_example_that_parses(segue, monkeypatch):
    status, output, _ = segue("--help")
    headings = [line for line in output.splitlines() if ", such as: segue " in line]
    assert status == 0
    assert [line.partition(",")[0] for line in headings] == [heading for heading, _ in cli.GROUPS.values()]
    assert [line.split()[0] for line in output.splitlines() if line.startswith("  ")] == list(cli.COMMANDS)
    assert output.splitlines()[2] == headings[0]  # no command stands before the first group
    monkeypatch.setattr(parsing, "_call", lambda function: functools.wraps(function)(lambda *_, **__: lambda: None))
    for _, example in cli.GROUPS.values():
        assert segue(*shlex.split(example)[1:])[0] == 0, example


def test_quiet_leaves_out_what_is_told_on_the_way_but_no_error(segue, tiny_model, picture, tmp_path):
    args = ("segment", picture, "--note", "a word that it never read", "--model", tiny_model, "-o", tmp_path / "m.png")
    _, answer, told = segue(*args)
    assert told.startswith("segue: warning: ")
    assert segue("--quiet", *args) == segue(*args, "--quiet") == (0, answer, "")
    status, _, told = segue("segment", tmp_path / "none.png", "--note", NOTE, "--model", tiny_model, "--quiet")
    assert (status, "none.png" in told) == (2, True)
    status, _, told = segue("segment", picture, "--notes-of-none", "--quiet")
    assert status == 2
    assert told


def test_verbose_tells_where_in_the_code_an_error_arose(segue, tmp_path):
    status, _, told = segue("caption", tmp_path / "none.png", "--verbose")
    assert status == 2
    assert told.startswith("Traceback")
    assert told.splitlines()[-1].startswith("segue: ")
    assert "Traceback" not in segue("caption", tmp_path / "none.png")[2]


def test_trainings_may_be_called_by_their_job(segue):
    listed = segue("train", "--help")[1]
    for job, recipe in cli.ALIASES["segue train"].items():
        assert f"{job} " in listed
        status, out, _ = segue("train", job, "--help")
        assert (status, out) == segue("train", recipe, "--help")[:2]
