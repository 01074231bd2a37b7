"""Mutation testing for maintainers: which small faults in the core do a module's own tests find?

    python tools/mutate.py                                     # 100 mutants of the core
    python tools/mutate.py methods/sgdiff losses.py --seed 1 --count 20 --jobs 2 --wider

Mutants are drawn at random from the syntax trees of the modules; paths are relative to src/segue. Each runs the tests
that mirror its module, in a copy of the tree, and stops at the first failure. Each result is a line of JSON in --out; a
table by package is printed at the end. A mutant that survives shows a hole in the tests, or changes nothing that can be
observed: the second kind stands in tools/equivalent_mutants.txt, by its key and with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from queue import Queue

from mutants import Mutant, mutants_of

CORE = ("losses.py", "metrics", "methods", "data", "training", "nn")
MIRRORS: dict[str, tuple[str, ...]] = {  # module -> its test files, for those that the tree does not mirror
    "data/formats/files.py": ("tests/data/formats/test_files.py", "tests/data/formats/test_label_maps.py"),
    "data/transforms.py": ("tests/data/test_transforms.py", "tests/data/medical/test_note_batches.py"),
    "methods/cocu/groupvit/released.py": ("tests/api/test_importing.py",),
}
LEFT_OUT = "not (java or ray or browser)"  # slow programs outside Python, which test no module of the core alone
LONGEST = 1200  # seconds for tests that nobody has timed yet


@dataclass(frozen=True)
class Result:
    """status: killed, timeout (counts as killed), survived, equivalent, or with --wider "killed elsewhere"."""

    key: str
    line: int
    status: str
    tests: tuple[str, ...]
    seconds: float


def modules_below(root: Path, paths: list[str]) -> list[str]:
    """The modules below some paths of src/segue; of the core if there are none."""
    home = root / "src/segue"
    found = set[str]()
    for path in paths or CORE:
        if not (home / path).exists():
            sys.exit(f"{path}: not in src/segue")
        files = [home / path] if path.endswith(".py") else (home / path).rglob("*.py")
        found |= {file.relative_to(home).as_posix() for file in files}
    return sorted(found)


def mirror(root: Path, module: str) -> tuple[str, ...]:
    """A module's own test file, relative to the root, or else all of the nearest folder that mirrors its package."""
    if module in MIRRORS:
        return MIRRORS[module]
    folder = root / "tests" / Path(module).parent
    own = folder / f"test_{folder.name if module.endswith('__init__.py') else Path(module).stem}.py"
    found = [own] if own.exists() else sorted(folder.glob("test_*.py"))
    while not found:
        folder = folder.parent
        found = sorted(folder.glob("test_*.py"))
    return tuple(file.relative_to(root).as_posix() for file in found)


def importers(root: Path, module: str) -> tuple[str, ...]:
    """All test files that import a module, or a name from it, relative to the root."""
    name = "segue." + module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    package, _, last = name.rpartition(".")
    lines = (f"from {name} import ", f"import {name}\n", f"from {package} import {last}\n")
    files = sorted((root / "tests").rglob("test_*.py"))
    return tuple(f.relative_to(root).as_posix() for f in files if any(line in f.read_text() for line in lines))


def copy_tree(root: Path, target: Path) -> Path:
    """What git knows and what it does not ignore, in a new folder."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)
    probe = [sys.executable, "-c", "import segue; print(segue.__file__)"]
    found = subprocess.run(probe, cwd=target, env=_environment(target), capture_output=True, text=True, check=True)
    if not found.stdout.startswith(str(target)):
        sys.exit(f"python imports {found.stdout.strip()}, not the copy in {target}")
    return target


def _environment(tree: Path) -> dict[str, str]:
    """No bytecode is written: two mutants of the same size within a second would be taken for one."""
    paths = os.pathsep.join([str(tree / "src"), str(tree / "tests")])
    quiet = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return os.environ | quiet


def run_tests(tree: Path, tests: Iterable[str], seconds: float) -> str:
    """survived (all pass), killed or timeout: of tests in a copy of the tree, up to the first that fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", LEFT_OUT, *tests]
    quiet = subprocess.DEVNULL
    run = subprocess.Popen(
        command, cwd=tree, env=_environment(tree), stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        return {0: "survived", 5: "survived"}.get(run.wait(seconds), "killed")  # 5: no test was left to run
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        with contextlib.suppress(ProcessLookupError):  # whatever the tests started ends with them
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


class Judge:
    """Runs mutants in copies of the tree, as many at a time as there are copies."""

    def __init__(self, root: Path, trees: list[Path], wider: bool, out: Path):
        self.root, self.wider, self.out, self.known = root, wider, out, equivalent(root)
        self.limits: dict[tuple[str, ...], float] = {}
        self.trees: Queue[Path] = Queue()
        for tree in trees:
            self.trees.put(tree)

    def measure(self, tests: tuple[str, ...]) -> None:
        """Set the time limit of tests by what they take on the unchanged tree, where they must pass."""
        tree, start = self.trees.get(), time.monotonic()
        status = run_tests(tree, tests, LONGEST)
        self.trees.put(tree)
        if status != "survived":
            sys.exit(f"the tests of the unchanged tree fail ({status}): {' '.join(tests)}")
        self.limits[tests] = 3 * (time.monotonic() - start) + 30

    def judge(self, mutant: Mutant) -> Result:
        """Run the tests of a mutant that is not known to be equivalent; write and print the result."""
        tests, start = mirror(self.root, mutant.module), time.monotonic()
        status = "equivalent" if mutant.key in self.known else self._run(mutant, tests, self.limits[tests])
        if status == "survived" and self.wider:
            others = [test for test in importers(self.root, mutant.module) if test not in tests]
            if others and self._run(mutant, others, LONGEST) != "survived":
                status = "killed elsewhere"
        result = Result(mutant.key, mutant.line, status, tests, round(time.monotonic() - start, 1))
        with self.out.open("a") as file:
            file.write(json.dumps(vars(result)) + "\n")
        print(f"{status:<16} {mutant.key} (line {mutant.line})", flush=True)
        return result

    def _run(self, mutant: Mutant, tests: Iterable[str], seconds: float) -> str:
        tree = self.trees.get()
        file = tree / "src/segue" / mutant.module
        original = file.read_text()
        try:
            _write(file, mutant.source)
            return run_tests(tree, tests, seconds)
        finally:
            _write(file, original)
            self.trees.put(tree)


def _write(module: Path, text: str) -> None:
    module.write_text(text)
    Path(cache_from_source(str(module))).unlink(missing_ok=True)  # Python would trust it: same size, same second


def equivalent(root: Path) -> set[str]:
    """The keys in tools/equivalent_mutants.txt, one a line; lines that begin with # are comments."""
    lines = (root / "tools/equivalent_mutants.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def summary(results: list[Result]) -> str:
    """Counts by package; score: the share of the mutants that are not equivalent which their own tests kill."""
    counts: dict[str, Counter[str]] = {}
    for result in results:
        for package in (result.key.partition(":")[0].partition("/")[0], "all"):
            counts.setdefault(package, Counter())[result.status] += 1
    statuses = ("killed", "timeout", "killed elsewhere", "survived", "equivalent")
    lines = [f"{'package':<12}" + "".join(f"{s:>17}" for s in statuses) + f"{'score':>8}"]
    for package, count in sorted(counts.items(), key=lambda item: item[0] == "all"):
        judged = count.total() - count["equivalent"]
        score = f"{(count['killed'] + count['timeout']) / judged:8.0%}" if judged else f"{'-':>8}"
        lines.append(f"{package:<12}" + "".join(f"{count[s]:>17}" for s in statuses) + score)
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Draw mutants, run their tests, print what became of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("paths", nargs="*", help="modules or packages below src/segue; the core unless given")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of mutants")
    parser.add_argument("--count", type=int, default=100, help="mutants to draw")
    parser.add_argument("--jobs", type=int, default=2, help="copies of the tree that run tests at the same time")
    parser.add_argument("--wider", action="store_true", help="run survivors with all tests that import their module")
    parser.add_argument("--out", type=Path, default=Path("build/mutants.jsonl"))
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the repository")
    args = parser.parse_args(argv)
    texts = {name: (args.root / "src/segue" / name).read_text() for name in modules_below(args.root, args.paths)}
    every = [mutant for name, text in texts.items() for mutant in mutants_of(name, text)]
    drawn = random.Random(args.seed).sample(every, min(args.count, len(every)))
    print(f"{len(drawn)} of {len(every)} mutants of {len(texts)} modules, seed {args.seed}", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs) as threads:
        trees = [copy_tree(args.root, Path(folder).resolve() / str(i)) for i in range(args.jobs)]
        judge = Judge(args.root, trees, args.wider, args.out)
        list(threads.map(judge.measure, sorted({mirror(args.root, mutant.module) for mutant in drawn})))
        results = list(threads.map(judge.judge, drawn))
    print(summary(results))


if __name__ == "__main__":
    main()
