"""All small faults of a Python module, each the module's text with one place of its syntax tree changed.

Comparisons are flipped, `and` and `or` swapped, + - * / // % ** & | swapped, numbers and truth values changed,
conditions negated, minus and `not` removed; a `raise` or a call whose result nobody uses becomes `pass`, a returned
value None.
"""

from __future__ import annotations

import ast
import copy
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    key: "MODULE:FUNCTION: OLD -> NEW", without line numbers, so that it stays the same when other code changes.
    source: the text of the whole changed module.
    """

    module: str
    key: str
    line: int
    source: str


def mutants_of(module: str, source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its source."""
    text, starts = source.encode(), [0]  # ast counts columns in bytes
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found, seen = [], Counter[str]()
    for where, node, new in _changes(ast.parse(source), ""):
        first = starts[node.lineno - 1] + node.col_offset
        last = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        old_name, new_name = (textwrap.shorten(t, 80, placeholder="...") for t in (ast.unparse(node), new))
        key = f"{module}:{where}: {old_name} -> {new_name}"
        seen[key] += 1
        numbered = key if seen[key] == 1 else f"{key} #{seen[key]}"
        found.append(Mutant(module, numbered, node.lineno, (text[:first] + new.encode() + text[last:]).decode()))
    return found


def _changes(parent: ast.AST, where: str) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    """(function, node, the text to put in the node's place) for each mutant below `parent`."""
    for node in ast.iter_child_nodes(parent):
        if _untouched(parent, node):
            continue
        inside = where
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = f"{where}.{node.name}".lstrip(".")
        if isinstance(node, ast.expr | ast.stmt):
            yield from ((where, node, new) for new in _variants(parent, node))
        yield from _changes(node, inside)


def _untouched(parent: ast.AST, node: ast.AST) -> bool:
    """Annotations, decorators, f-strings; fields of classes and constants of modules, which are choices, not logic."""
    kinds = [getattr(parent, name, None) for name in ("annotation", "returns")]
    if isinstance(node, ast.JoinedStr) or node in kinds or node in getattr(parent, "decorator_list", ()):
        return True
    if isinstance(node, ast.AnnAssign):
        return isinstance(parent, ast.ClassDef | ast.Module)
    return isinstance(parent, ast.Module) and isinstance(node, ast.Assign)


def _variants(parent: ast.AST, node: ast.expr | ast.stmt) -> Iterator[str]:
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                yield from (_with(node, ops=[*ops[:i], other(), *ops[i + 1 :]]) for other in COMPARISONS[type(op)])
        case ast.BoolOp(op=boolean):
            yield _with(node, op=ast.Or() if isinstance(boolean, ast.And) else ast.And())
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in ARITHMETIC and not _joins_texts(node):
            yield _with(node, op=ARITHMETIC[type(op)]())
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool() as truth):
            yield repr(not truth)
        case ast.Constant(value=int() as number):
            yield repr(number + 1)
        case ast.Constant(value=float() as number):
            yield repr(number * 2 if number else 1.0)
        case ast.Raise() | ast.Expr(value=ast.Call()):
            yield "pass"
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield "return None"
    is_condition = node is getattr(parent, "test", None) or node in getattr(parent, "ifs", ())
    if is_condition and not isinstance(node, ast.Compare | ast.UnaryOp):
        yield f"(not ({ast.unparse(node)}))"


def _with(node: ast.AST, **fields: object) -> str:
    changed = copy.copy(node)
    vars(changed).update(fields)
    return ast.unparse(changed)


def _joins_texts(node: ast.AST) -> bool:
    return any(
        isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str)
        for side in (getattr(node, name, None) for name in ("left", "right", "value"))
    )
