"""What CI asks of the suite besides that it passes: nothing was skipped or left out, and no test got lost.

    python tools/check_suite.py .pytest_cache/junit.xml

- No test was skipped, and none is expected to fail.
- Each test function that stands in tests/ was run, so that no option, marker or folder left it out.
- tests/ has no fewer test functions than the commit that this one is based on: where it left origin/main, or on main
  itself its parent. A commit since then whose message has a line "Fewer tests: REASON" may have fewer.

Exit status 1 and a sentence for each fault.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
REASON = "Fewer tests: "


def functions_in(files: Iterable[tuple[str, str]]) -> set[str]:
    """The test functions of (path, text), named as in junit: "tests.nn.test_norm.TestClass::test_function"."""
    found = set()
    for path, text in files:
        if not Path(path).match("test_*.py"):
            continue
        module = path.removesuffix(".py").replace("/", ".")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                found |= {f"{module}.{node.name}::{name}" for name in _names(node.body)}
        found |= {f"{module}::{name}" for name in _names(ast.parse(text).body)}
    return found


def _names(body: list[ast.stmt]) -> list[str]:
    functions = (node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [function.name for function in functions if function.name.startswith("test")]


def here(root: Path) -> set[str]:
    """The test functions of the working tree."""
    files = sorted((root / "tests").rglob("test_*.py"))
    return functions_in((file.relative_to(root).as_posix(), file.read_text()) for file in files)


def at(root: Path, commit: str) -> set[str]:
    """The test functions of a commit."""
    packed = subprocess.run(["git", "archive", commit, "tests"], cwd=root, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        files = [(m.name, tar.extractfile(m)) for m in tar.getmembers() if m.isfile() and m.name.endswith(".py")]
        return functions_in((name, file.read().decode()) for name, file in files if file is not None)


def base(root: Path) -> str | None:
    """The commit that HEAD is compared with; None without a repository, at a first commit, in a shallow clone."""
    head, left = _git(root, "rev-parse", "HEAD"), _git(root, "merge-base", "HEAD", "origin/main")
    return left if left and left != head else _git(root, "rev-parse", "--verify", "-q", "HEAD~1")


def _git(root: Path, *args: str) -> str | None:
    done = subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None


def faults_of_the_run(junit: Path, functions: set[str]) -> list[str]:
    """What is wrong with a run: tests that did not run, and functions of which none ran."""
    cases = list(ElementTree.parse(junit).iter("testcase"))
    names = [f"{case.get('classname')}::{case.get('name')}" for case in cases]
    skipped = [name for name, case in zip(names, cases, strict=True) if case.find("skipped") is not None]
    missing = functions - {name.split("[")[0] for name in names}
    return [f"{name}: skipped, or expected to fail" for name in skipped] + [
        f"{name}: not run" for name in sorted(missing)
    ]


def fault_of_the_count(root: Path, functions: set[str]) -> str | None:
    """What to say if there are fewer test functions than in the commit HEAD is based on, and no reason is given."""
    commit = base(root)
    if commit is None:
        print("no earlier commit here: the number of tests is not compared")
        return None
    before = len(at(root, commit))
    print(f"{len(functions)} test functions, {before} in {commit[:10]}")
    if len(functions) >= before or REASON in (_git(root, "log", "--format=%B", f"{commit}..HEAD") or ""):
        return None
    lost = f"{before - len(functions)} test functions fewer than in {commit[:10]}"
    return f"{lost}: say why in a commit's message, by a line '{REASON}...'"


def main(junit: Path, root: Path = ROOT) -> int:
    """Print the faults; 1 if there are any."""
    functions = here(root)
    count = fault_of_the_count(root, functions)
    faults = [*faults_of_the_run(junit, functions), *([count] if count else [])]
    print("\n".join(faults), file=sys.stderr)
    return min(len(faults), 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
