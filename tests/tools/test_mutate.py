import ast
import json
import subprocess

import pytest

import mutants
import mutate

CLIP = """
LIMIT = 3

def clip(value: int, low: int = 0, high: int = LIMIT) -> int:
    if value < low and low <= high:
        return low
    return min(value, high)
"""
CLIP_TEST = """
from segue.nn.clip import clip

def test_clip():
    assert [clip(value, 0, 3) for value in (-1, 0, 2, 5)] == [0, 0, 2, 3]
"""
ENDLESS_TEST = """
from segue.nn.clip import clip

def test_clip():
    while clip(5) != 3:
        pass
"""


def changed(source: str) -> set[str]:
    return {m.key.partition(": ")[2] for m in mutants.mutants_of("m.py", source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("f(a < b)", {"f(a < b) -> pass", "a < b -> a <= b", "a < b -> a >= b"}),
        ("x = [0 <= a < 1]", set()),
        ("def f(a=2): return a", {"2 -> 3", "return a -> return None"}),
        ("def f(): return None", set()),
        ("def f(x: 'L[1]' = -1) -> L[2]: ...", {"-1 -> (1)", "1 -> 2"}),
        ("class A:\n  width: int = 8", set()),
        ("if a: b += 1", {"a -> (not (a))", "b += 1 -> b -= 1", "1 -> 2"}),
        ("if not a: b = a % 'x' + f'{1}'", {"not a -> (a)"}),
        ("if a or b and c: pass", {"a or (b and c) -> a and (b and c)", "b and c -> b or c",
                                   "a or (b and c) -> (not (a or (b and c)))"}),
        ("def f():\n  raise E(f'{1}')", {"raise E(f'{1}') -> pass"}),
        ("@cache(1)\ndef f(): x = True; y = 0.0; z = .5", {"True -> False", "0.0 -> 1.0", "0.5 -> 1.0"}),
    ],
)  # fmt: skip
def test_what_is_changed_and_what_is_left_alone(source, expected):
    assert changed(source) == expected


def test_one_place_of_the_text_is_changed_and_the_rest_stays_as_it_was():
    source = "def f(ä, b):  # ö\n    return (ä\n        + b)  # ü\n"
    texts = {m.source for m in mutants.mutants_of("m.py", source)}
    assert texts == {"def f(ä, b):  # ö\n    return (ä - b)  # ü\n", "def f(ä, b):  # ö\n    return None  # ü\n"}


def test_each_mutant_is_another_program_with_a_key_of_its_own_that_other_lines_do_not_change():
    source = (mutate.Path(mutants.__file__)).read_text()
    found = mutants.mutants_of("m.py", source)
    dumps = {ast.dump(ast.parse(m.source)) for m in found} | {ast.dump(ast.parse(source))}
    assert len(dumps) == len({m.key for m in found}) + 1 == len(found) + 1
    later = mutants.mutants_of("m.py", "import os\n\n\n" + source)
    assert [m.key for m in later] == [m.key for m in found]
    assert later[0].line == found[0].line + 3


@pytest.fixture
def toy(tmp_path):
    """A repository of one module and its test, with one equivalent mutant."""
    root = tmp_path / "toy"
    files = {
        "src/segue/__init__.py": "",
        "src/segue/nn/__init__.py": "",
        "src/segue/nn/clip.py": CLIP,
        "tests/nn/test_clip.py": CLIP_TEST,
        "tests/test_all.py": "from segue.nn.clip import clip\n\ndef test_default():\n    assert clip(-1) == 0\n",
        "tools/equivalent_mutants.txt": "# the limits are equal then\nnn/clip.py:clip: value < low -> value <= low\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def run(root, *args):
    mutate.main(["nn", "--root", str(root), "--out", str(root / "build/out.jsonl"), *args])
    lines = (root / "build/out.jsonl").read_text().splitlines()
    return {row["key"].partition(": ")[2]: row["status"] for row in map(json.loads, lines)}


def test_mutants_are_killed_survive_or_are_known_to_be_equivalent_and_the_tree_stays(toy, capsys):
    assert run(toy, "--wider") == {
        "0 -> 1": "killed elsewhere",
        "value < low and low <= high -> value < low or low <= high": "killed",
        "value < low and low <= high -> (not (value < low and low <= high))": "killed",
        "value < low -> value <= low": "equivalent",
        "value < low -> value >= low": "killed",
        "low <= high -> low < high": "survived",
        "low <= high -> low > high": "killed",
        "return low -> return None": "killed",
        "return min(value, high) -> return None": "killed",
    }
    assert capsys.readouterr().out.splitlines()[-1].split() == ["all", "6", "0", "1", "1", "1", "75%"]
    assert (toy / "src/segue/nn/clip.py").read_text() == CLIP


def test_a_seed_draws_the_same_mutants(toy, monkeypatch):
    monkeypatch.setattr(mutate, "run_tests", lambda *_: "survived")
    first = run(toy, "--count", "3", "--seed", "4")
    assert len(first) == 3
    assert first == run(toy, "--count", "3", "--seed", "4") != run(toy, "--count", "3", "--seed", "5")


def test_tests_that_do_not_end_are_stopped(toy, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # bytecode of the same second would hide the change
    (toy / "tests/nn/test_clip.py").write_text(ENDLESS_TEST)
    tree = mutate.copy_tree(toy, toy / "build/copy")
    assert mutate.run_tests(tree, ["tests/nn/test_clip.py"], 60) == "survived"
    (tree / "src/segue/nn/clip.py").write_text(CLIP.replace("min(", "max("))
    assert mutate.run_tests(tree, ["tests/nn/test_clip.py"], 5) == "timeout"


def test_a_tree_whose_tests_fail_is_refused(toy):
    (toy / "tests/nn/test_clip.py").write_text(CLIP_TEST.replace("[0, 0, 2, 3]", "[]"))
    with pytest.raises(SystemExit, match=r"the tests of the unchanged tree fail \(killed\): tests/nn/test_clip.py"):
        run(toy, "--count", "1")


def test_the_mirror_of_a_module(tmp_path):
    names = ("test_losses.py", "data/test_rle.py", "data/test_boxes.py", "data/formats/test_formats.py")
    for name in names:
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / name).touch()
    found = {m: mutate.mirror(tmp_path, m) for m in ("losses.py", "data/rle.py", "data/formats/__init__.py")}
    assert found == {
        "losses.py": ("tests/test_losses.py",),
        "data/rle.py": ("tests/data/test_rle.py",),
        "data/formats/__init__.py": ("tests/data/formats/test_formats.py",),
    }
    assert mutate.mirror(tmp_path, "data/images.py") == ("tests/data/test_boxes.py", "tests/data/test_rle.py")
    assert mutate.mirror(tmp_path, "nn/deep/norm.py") == ("tests/test_losses.py",)


def test_the_core_draws_no_data():
    names = mutate.modules_below(mutate.Path(mutate.__file__).parents[1], [])
    assert {"losses.py", "nn/decoding.py", "training/loop.py", "data/rle.py"} <= set(names)
    assert not [name for name in names if name.startswith(("recipes", "api", "synthetic"))]
