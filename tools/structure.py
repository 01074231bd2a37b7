"""What imports what: the packages of src/segue with their arrows, and circles among packages and among files.

    python tools/structure.py [ROOT]        ROOT: a tree of this repository, of any commit

Imports inside functions count too, those for the type checker alone don't. A module of src/segue that is no folder is
a package of its own.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

Graph = Mapping[str, set[str]]


def imports(home: Path) -> dict[str, set[str]]:
    """The modules below `home` (src/segue), by name, each with those of them that it imports."""
    files = {".".join((home.name, *path.relative_to(home).with_suffix("").parts)): path for path in home.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in files.items()}
    return {name: {*_imported(ast.parse(path.read_text()), modules)} - {name} for name, path in modules.items()}


def _imported(node: ast.AST, modules: Mapping[str, Path]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and child.module:
            names = [f"{child.module}.{alias.name}" for alias in child.names]
            yield from (name if name in modules else child.module for name in names if child.module in modules)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name in modules)
        yield from _imported(child, modules)


def packages(graph: Graph) -> dict[str, set[str]]:
    """The graph of what stands directly in src/segue; its own __init__ is left out."""
    found: dict[str, set[str]] = {}
    for name, targets in graph.items():
        if name.count("."):
            package = name.split(".")[1]
            others = {target.split(".")[1] for target in targets if target.count(".")} - {package}
            found.setdefault(package, set()).update(others)
    return found


def circles(graph: Graph) -> list[list[str]]:
    """The groups of two or more nodes that reach each other."""
    reach = {name: _reached(graph, name) for name in graph}
    groups = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in graph}
    return [[*group] for group in sorted(groups) if group]


def _reached(graph: Graph, start: str) -> set[str]:
    found, left = set[str](), [*graph[start]]
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            left += graph.get(name, ())
    return found


def main(root: Path) -> None:
    """Print each package with those that it imports, and the figures."""
    files = imports(root / "src/segue")
    graph = packages(files)
    for name in sorted(graph, key=lambda name: (-len(_reached(graph, name)), name)):
        print(f"{name:12} -> {', '.join(sorted(graph[name])) or 'nothing'}")
    print(f"\npackages {len(graph)}, arrows {sum(map(len, graph.values()))}, circles {circles(graph)}")
    print(f"files {len(files)}, arrows {sum(map(len, files.values()))}, circles {circles(files)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
