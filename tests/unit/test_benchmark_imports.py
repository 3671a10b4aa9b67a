"""What benchmarks import of the project is there. Peers, which they import too, need not be installed."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "benchmarks").rglob("*.py"))


def file_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def names_of(file: Path) -> set[str]:
    """Names that others can import from a module; what functions and classes have inside is not looked at."""
    names: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        nodes.extend(ast.iter_child_nodes(node))
    return names


def is_there(module: str, name: str) -> bool:
    if file_of(f"{module}.{name}").exists():
        return True
    if module.split(".")[0] == "benchmarks":
        return name in names_of(file_of(module))
    return hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_what_it_imports_of_the_project_is_there(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
            "benchmarks",
            "detector",
        ):
            module = node.module or ""
            missing = [alias.name for alias in node.names if not is_there(module, alias.name)]
            assert not missing, f"{module} has no {missing}"
