"""The house: which room may import which, where the large libraries stay, and how long a file may be."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import graphc

PACKAGE = Path(graphc.__file__).parent
FILES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))

LEAVES = {"types", "errors"}
MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "errors": {"types"},
    "target": LEAVES,
    "passes": LEAVES,
    "ops": LEAVES,
    "graph": {*LEAVES, "ops", "target", "passes"},
    "autodiff": {*LEAVES, "ops", "graph"},
    "dsl": {*LEAVES, "ops", "graph", "autodiff"},
    "schedule": {*LEAVES, "ops", "graph", "target", "passes"},
    "loops": {*LEAVES, "ops", "schedule", "target", "passes"},
    "codegen": {*LEAVES, "loops", "target"},
    "runtime": {*LEAVES, "ops", "graph", "schedule", "loops", "codegen", "target"},
    "models": {*LEAVES, "dsl", "ops"},
}
"""What each room may import from the others. Those that are not listed stand on top and may import anything."""

TOP = {"", "train", "data", "study", "build", "pipeline", "programs", "cli", "__main__"}

LIBRARIES: dict[str, tuple[str, ...]] = {
    "sympy": ("ops/", "autodiff/", "loops/freeze.py", "study/latex.py"),
    "networkx": ("graph/analysis/",),
    "llvmlite": ("codegen/", "runtime/"),
    "torch": (),
    "rich": ("cli.py", "train/", "study/"),
    "click": ("cli.py",),
    "sklearn": ("train/estimators.py",),
}


def room(file: str) -> str:
    """The room of a file: the directory below the package, or the module itself."""
    first = file.split("/")[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


def typing_only(module: ast.Module) -> set[ast.AST]:
    """Nodes below `if TYPE_CHECKING`: they import nothing when the program runs."""
    found: set[ast.AST] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            found |= {inner for statement in node.body for inner in ast.walk(statement)}
    return found


def imports(file: str, skipped: set[ast.AST] = frozenset()) -> set[str]:
    """The full names of everything that a file imports."""
    module = tree(file)
    skipped = skipped | typing_only(module)
    names: set[str] = set()
    for node in ast.walk(module):
        if node in skipped:
            continue
        match node:
            case ast.Import(names=aliases):
                names |= {a.name for a in aliases}
            case ast.ImportFrom(module=str(source), level=level, names=aliases):
                assert level == 0, f"{file}: relative import"
                names |= {f"{source}.{a.name}" for a in aliases}
    return names


def test_every_room_is_known() -> None:
    assert {room(f) for f in FILES} <= {*MAY_IMPORT, *TOP}


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_imports_go_one_way(name: str) -> None:
    allowed = {name, *MAY_IMPORT[name]}
    wrong = []
    for file in (f for f in FILES if room(f) == name):
        for imported in imports(file):
            parts = imported.split(".")
            if parts[0] == "graphc" and len(parts) > 1 and parts[1] not in allowed:
                wrong.append(f"{file} imports {imported}")
    assert sorted(wrong) == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_stay_in_their_rooms(library: str) -> None:
    users = [f for f in FILES if any(i.split(".")[0] == library for i in imports(f))]
    assert [f for f in users if not f.startswith(LIBRARIES[library] or ("-",))] == []
    assert users or not LIBRARIES[library]


def test_no_text_is_ever_run_as_a_program() -> None:
    wrong = []
    for file in FILES:
        for node in ast.walk(tree(file)):
            match node:
                case ast.Call(func=ast.Name(id="eval" | "exec" | "compile")):
                    wrong.append(f"{file}:{node.lineno} calls {node.func.id}")
                case ast.Call(func=ast.Attribute(attr="sympify" | "parse_expr"), args=[ast.Constant(value=str())]):
                    wrong.append(f"{file}:{node.lineno} parses an expression")
                case _:
                    pass
        wrong += [f"{file} imports {i}" for i in imports(file) if i.split(".")[0] in ("pickle", "marshal", "shelve")]
    assert wrong == []


def test_no_drawer_for_everything() -> None:
    names = ("utils", "util", "helpers", "helper", "common", "misc")
    assert [f for f in FILES if set(f.removesuffix(".py").split("/")) & set(names)] == []


def test_files_can_be_read_in_one_sitting() -> None:
    lengths = {f: len((PACKAGE / f).read_text(encoding="utf-8").splitlines()) for f in FILES}
    assert {f: n for f, n in lengths.items() if n > 400} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [f for f in FILES if (PACKAGE / f).stat().st_size and not ast.get_docstring(tree(f))]
    assert silent == []
