"""The rooms keep their doors, and the package opens fast."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python(code, *args):
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rooms_import_only_what_they_may():
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_importing_segue_loads_no_torch():
    assert python("import sys, segue; print('torch' in sys.modules)") == "False\n"


def test_help_loads_no_torch():
    code = """
import contextlib, io, sys
from segue.cli import main
for args in ([], ["segment"], ["data", "make"]):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([*args, "--help"])
print("torch" in sys.modules, "transformers" in sys.modules)
"""
    assert python(code).endswith("False False\n")


def test_no_path_of_a_machine_stands_in_the_repository():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False).stdout.split()
    homes = ("/home/" + "user", "/root/", "/work" + "/", "/Users/")
    texts = {name: (ROOT / name).read_text(errors="ignore") for name in tracked if (ROOT / name).is_file()}
    assert [
        name for name, text in texts.items() if name != "tests/test_architecture.py" and any(h in text for h in homes)
    ] == []
