"""docs/*.md: every python block runs, in order; what a page says it prints, it prints.

A fence `text` or `latex` right behind a python block holds what the block prints and is compared with it; a fence
`asm` is shown but not compared, for machine code changes with the version of LLVM. `pytest --update-golden` writes
them all anew.
"""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

import graphc
from graphc.codegen.target import host
from graphc.errors import LoweringError
from graphc.pipeline import inference_passes, training_passes

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
OUTPUT = ("text", "latex", "asm")

LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)[^)]*\)")


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block; `start` and `stop` are the lines of its content."""

    language: str
    start: int
    stop: int


def fences(lines: list[str]) -> list[Fence]:
    """The fenced blocks of a page. Fails where the last one is not closed."""
    found, opened = [], None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = (line[3:].strip(), number + 1)
        else:
            found.append(Fence(*opened, number))
            opened = None
    assert opened is None, f"the block in line {opened[1]} is not closed"
    return found


def run(page: Path) -> list[tuple[Fence, str]]:
    """Run the python blocks of a page as one script; the fences of their output with what was printed."""
    lines = page.read_text(encoding="utf-8").splitlines()
    blocks = fences(lines)
    namespace: dict[str, object] = {"__name__": f"docs.{page.stem}"}
    printed, line, python = [], 0, None
    for block, following in zip(blocks, [*blocks, None][1:], strict=True):
        if block.language != "python":
            continue
        source = "\n" * line + "\n".join(lines[block.start : block.stop])
        line += block.stop - block.start
        python = StringIO()
        with redirect_stdout(python):
            exec(compile(source, f"{page.stem}.py", "exec", dont_inherit=True), namespace)
        between = lines[block.stop + 1 : following.start - 1] if following else []
        if following and following.language in OUTPUT and not "".join(between).strip():
            printed.append((following, python.getvalue()))
    return printed


@pytest.fixture
def comparable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether this machine can make what the pages show: code for AVX2. Their files are left elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHC_TARGET", "avx2")
    try:
        host()
    except LoweringError:
        monkeypatch.delenv("GRAPHC_TARGET")
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_page_prints_what_it_shows(page: Path, comparable: bool, request: pytest.FixtureRequest) -> None:
    printed = run(page)
    lines = page.read_text(encoding="utf-8").splitlines()
    if request.config.getoption("--update-golden"):
        for fence, text in reversed(printed):
            lines[fence.start : fence.stop] = _shown(text).splitlines()
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    for fence, text in printed:
        if comparable and fence.language != "asm":
            assert "\n".join(lines[fence.start : fence.stop]) == _shown(text), f"{page.name}:{fence.start}"


def _shown(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [target for target in LINK.findall(page.read_text("utf-8")) if not (page.parent / target).exists()]
    assert not missing


def test_an_output_that_differs_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 2\n```\n\n```python\nprint(x + 1)\n```\n\n```text\n4\n```\n", encoding="utf-8")
    ((fence, text),) = run(page)
    assert (fence, text) == (Fence("text", 9, 10), "3\n")


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = page.read_text("utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_the_architecture_page_names_every_room() -> None:
    packages = {p.parent.name for p in Path(graphc.__file__).parent.glob("*/__init__.py")}
    named = {name for row in rows(DOCS / "architecture.md", "Rooms") for name in re.findall(r"`(\w+)/`", row[0])}
    assert named == packages


def test_the_architecture_page_lists_the_passes_in_order() -> None:
    table = rows(DOCS / "architecture.md", "Passes")
    listed = [re.findall(r"`(\w+)`", row[0])[0] for row in table]
    training = [p.name for p in training_passes(graphc.SGD(0.1), ("w",), host())]
    inference = [p.name for p in inference_passes(host())]
    again = {f"{name}_again" for name in listed}
    first = [name for name in training if name not in again]
    assert [name for name in listed if name in first] == first
    assert [name for name in listed if name in inference] == inference
    assert set(listed) == {*first, *inference}
    only = {re.findall(r"`(\w+)`", row[0])[0]: row[1] for row in table}
    assert {n for n, where in only.items() if where == "training"} == set(first) - set(inference)
    assert {n for n, where in only.items() if where == "inference"} == set(inference) - set(training)


def test_adding_an_operator_fits_on_a_screen() -> None:
    assert len((DOCS / "adding_an_operator.md").read_text("utf-8").splitlines()) <= 60


@pytest.mark.parametrize("mark", ["compare", "kernels"])
def test_measurements_have_a_place(mark: str) -> None:
    text = (DOCS / "performance.md").read_text("utf-8")
    assert text.count(f"<!-- {mark} -->") == text.count(f"<!-- end {mark} -->") == 1
    assert text.index(f"<!-- {mark} -->") < text.index(f"<!-- end {mark} -->")
