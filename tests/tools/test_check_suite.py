import subprocess
import sys

import pytest

import check_suite

TWO = "import pytest\n\n@pytest.mark.parametrize('x', [1, 2])\ndef test_a(x): assert x\n\ndef test_b(): pass\n"
CLASS = "class TestC:\n    def test_c(self): pass\n\nclass Helper:\n    def test_no(self): pass\n\ndef help(): pass\n"


def commit(root, message, **files):
    for name, text in files.items():
        (root / "tests/deep").mkdir(parents=True, exist_ok=True)
        (root / f"tests/deep/{name}.py").write_text(text)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    subprocess.run(["git", *who, "commit", "-q", "-m", message], cwd=root, check=True)


@pytest.fixture
def repository(tmp_path):
    """A repository of three test functions in one commit, on main."""
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("junit.xml\n__pycache__\n.pytest_cache\n")
    commit(tmp_path, "first", test_two=TWO, test_class=CLASS)
    return tmp_path


def check(root, capsys, *options):
    """(status, faults) of a run with those options."""
    command = [sys.executable, "-m", "pytest", "tests", "--junitxml=junit.xml", *options]
    subprocess.run(command, cwd=root, capture_output=True, check=False)
    capsys.readouterr()
    status = check_suite.main(root / "junit.xml", root)
    return status, capsys.readouterr().err.split("\n")[:-1]


def test_a_whole_run_passes(repository, capsys):
    assert check(repository, capsys) == (0, [""])


def test_a_function_that_was_left_out_is_named(repository, capsys):
    assert check(repository, capsys, "--deselect", "tests/deep/test_class.py") == (
        1,
        ["tests.deep.test_class.TestC::test_c: not run"],
    )
    assert check(repository, capsys, "-k", "test_b or test_c") == (1, ["tests.deep.test_two::test_a: not run"])


@pytest.mark.parametrize(
    "line",
    ["@pytest.mark.skip\n", "@pytest.mark.skipif(True, reason='no program')\n", "@pytest.mark.xfail\n"],
)
def test_a_skipped_or_excused_test_is_named(repository, capsys, line):
    body = "def test_b(): assert 'xfail' not in __import__('os').environ['WHY']\n"
    (repository / "tests/deep/test_two.py").write_text(TWO.replace("def test_b(): pass\n", line + body))
    assert check(repository, capsys) == (1, ["tests.deep.test_two::test_b: skipped, or expected to fail"])


def test_fewer_functions_than_in_the_parent_need_a_reason(repository, capsys):
    commit(repository, "second", test_two="def test_b(): pass\n")
    status, faults = check(repository, capsys)
    assert status == 1
    assert faults[0].startswith("1 test functions fewer than in ")
    commit(repository, "third\n\nFewer tests: two said the same.", test_two="")
    assert check(repository, capsys) == (0, [""])


def test_a_branch_is_compared_with_where_it_left_main(repository, capsys):
    remote = ["git", "update-ref", "refs/remotes/origin/main", "HEAD"]
    subprocess.run(remote, cwd=repository, check=True)
    commit(repository, "second", test_two="def test_b(): pass\n")
    commit(repository, "third", test_three="")
    status, faults = check(repository, capsys)
    assert status == 1
    assert faults[0].startswith("1 test functions fewer than in ")
    commit(repository, "fourth", test_three="def test_d(): pass\n")
    assert check(repository, capsys) == (0, [""])


def test_on_main_the_parent_is_compared(repository):
    commit(repository, "second", test_three="def test_d(): pass\n")
    parent = subprocess.run(["git", "rev-parse", "HEAD~1"], cwd=repository, capture_output=True, text=True, check=True)
    subprocess.run(["git", "update-ref", "refs/remotes/origin/main", "HEAD"], cwd=repository, check=True)
    assert check_suite.base(repository) == parent.stdout.strip()


def test_without_an_earlier_commit_nothing_is_compared(repository, tmp_path_factory, capsys):
    assert check_suite.base(repository) is None
    assert check_suite.base(tmp_path_factory.mktemp("no repository")) is None
    assert check_suite.fault_of_the_count(repository, set()) is None
    assert "not compared" in capsys.readouterr().out


def test_the_suite_of_segue_is_read():
    functions = check_suite.here(check_suite.ROOT)
    assert f"tests.tools.test_check_suite::{test_the_suite_of_segue_is_read.__name__}" in functions
    assert len(functions) > 1000
