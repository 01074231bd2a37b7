"""Who imports whom: no package and no file in a circle, and a circle is found where there is one."""

from pathlib import Path

import structure


def test_no_package_and_no_file_imports_another_in_a_circle():
    files = structure.imports(Path(__file__).parents[2] / "src/segue")
    assert len(files) > 300
    assert structure.circles(structure.packages(files)) == []
    assert structure.circles(files) == []


def test_a_circle_by_way_of_a_function_is_found_and_one_of_types_is_none(tmp_path):
    home = tmp_path / "segue"
    (home / "a").mkdir(parents=True)
    (home / "a/__init__.py").write_text("")
    (home / "a/one.py").write_text("def f():\n    from segue.b import two\n")
    (home / "b.py").write_text("from segue.a.one import f\ntwo = f\nimport json\n")
    (home / "c.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from segue import d\n")
    (home / "d.py").write_text("import segue.c\n")
    files = structure.imports(home)
    assert files == {"segue.a": set(), "segue.a.one": {"segue.b"}, "segue.b": {"segue.a.one"}} | {
        "segue.c": set(),
        "segue.d": {"segue.c"},
    }
    assert structure.circles(files) == [["segue.a.one", "segue.b"]]
    assert structure.packages(files) == {"a": {"b"}, "b": {"a"}, "c": set(), "d": {"c"}}
    assert structure.circles(structure.packages(files)) == [["a", "b"]]
