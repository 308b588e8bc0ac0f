"""Digest of the sources that a run's numbers depend on: its algorithm, its environments, and what ties them together.

Found by following imports from there. Modules that keep, show, check or start runs change no number and are left out
(ASIDE), as are registries, which only name others, and schemas, whose values stand in the configuration. What a file
says counts, not how it is written: comments, docstrings and layout do not.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from bench.algos import ALGOS
from bench.envs import SUITES
from bench.exact import PROGRAMS

ROOT = Path(__file__).resolve().parent.parent
TIES = ("bench", "bench.schedule", "bench.session")
# Of several seeds in one process: what they compute with, and what lets them go on together (and also keeps and shows).
FUSED, LOCKSTEP = "bench.algos.fused_dpo", "bench.fused"
ASIDE = {"bench.algos", "bench.envs", "bench.errors", "bench.exact", "bench.metrics"}
SCHEMAS = "config"  # ending of the modules that hold them


@cache
def digest(algo: str, suite: str, fused: bool = False) -> str:
    """SHA-256 over the modules that a run computes with.

    Args: algo: key of ALGOS or PROGRAMS; suite: of SUITES; fused: several seeds learn in one process.
    """
    roots = [(ALGOS | PROGRAMS)[algo].partition(":")[0], SUITES[suite], *TIES]
    modules = reached([*roots, FUSED]) | {LOCKSTEP} if fused else reached(roots)
    total = hashlib.sha256()
    for module in sorted(modules):
        total.update(f"{module} {said(module)}\n".encode())
    return total.hexdigest()


def reached(roots: list[str]) -> set[str]:
    """These modules and all of this package that they import, directly or not, but for those left out."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imports(module)
    return found


@cache
def imports(module: str) -> tuple[str, ...]:
    """Modules of this package that a module imports anywhere in its text, in the way that counts here."""
    named = [name for node in _statements(_tree(module)) for name in _imported(node)]
    return tuple(name for name in named if name not in ASIDE and not name.endswith(SCHEMAS))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements of a syntax tree, at any depth: a tenth of its nodes, and the only place of imports."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(node, name, ())
        for statement in inner if isinstance(inner, list) else ():
            yield statement
            yield from _statements(statement)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if _file(alias.name))
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            if _file(inner):
                yield inner
            elif _file(node.module):
                yield node.module


def _file(module: str) -> Path | None:
    """The source of a module of this package, else nothing."""
    if module.split(".")[0] != "bench":
        return None
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _tree(module: str) -> ast.Module:
    file = _file(module)
    assert file is not None
    return ast.parse(file.read_bytes())


@cache
def said(module: str) -> str:
    """Hash of a module's syntax tree without docstrings."""
    return hashlib.sha256(_dump(_tree(module)).encode()).hexdigest()


def _dump(node: object) -> str:
    """Text of a syntax tree, the same under every version of Python: `ast.dump` prints new fields, and empty ones."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
        body = [(name, _without_docstring(value) if name == "body" else value) for name, value in fields]
        return f"{type(node).__name__}({','.join(f'{name}={_dump(value)}' for name, value in body)})"
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
    return repr(node)


def _without_docstring(body: object) -> object:
    if not isinstance(body, list):
        return body
    return [
        node
        for node in body
        if not (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
    ]
