"""Every stage as a numbered file: with `GRAPHC_DUMP=directory` each program can be read after each pass."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from graphc.graph.ir import Graph
from graphc.graph.printer import graph_text
from graphc.loops.ir import Function, Step
from graphc.passes import Remark

VARIABLE = "GRAPHC_DUMP"


class Dump:
    """An observer that writes `04-eliminate_dead_code.graph` and so on into a directory."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.written: list[Path] = []

    def after(self, stage: str, before: Any, after: Any, seconds: float, remarks: tuple[Remark, ...]) -> None:
        """Write the program after one pass, below its remarks; a pass that changed nothing says so."""
        suffix, comment = suffix_of(after)
        head = [f"{stage}  {1e3 * seconds:.2f} ms" + ("  nothing changed" if after is before else "")]
        head += [f"{r.subject}: {r.text}" for r in remarks]
        text = "".join(f"{comment} {line}\n" for line in head)
        self.write(stage, suffix, text + program_text(after))

    def write(self, stage: str, suffix: str, text: str) -> Path:
        """Write one text under the next number."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{len(self.written):02d}-{stage.replace('/', '_')}.{suffix}"
        path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
        self.written.append(path)
        return path


def suffix_of(program: Any) -> tuple[str, str]:
    """(file name suffix, comment sign) of a program's language. Raises TypeError for something else."""
    match program:
        case Graph():
            return "graph", "#"
        case Function() | Step():
            return "loop", "#"
        case str():
            return "ll", ";"
        case _ if hasattr(program, "kernels"):  # laid out or not
            return "program", "#"
        case _:
            raise TypeError(f"{type(program).__name__} is no program of any stage")


def program_text(program: Any) -> str:
    """A program as text; a graph with its formulas."""
    if isinstance(program, Graph):
        return graph_text(program, formulas=True)
    if isinstance(program, tuple):
        return "\n".join(map(program_text, program))
    return str(program)


_programs: Counter[str] = Counter()
"""How many programs this process has written into each directory."""


def dump_from_environment(path: str) -> tuple[Dump, ...]:
    """The dump that the environment asks for: none, unless GRAPHC_DUMP names a directory.

    The first program of a process is written into the directory itself, later ones below it: `2-inference`.
    """
    directory = os.environ.get(VARIABLE)
    if not directory:
        return ()
    _programs[directory] += 1
    number = _programs[directory]
    return (Dump(directory if number == 1 else Path(directory, f"{number}-{path}")),)
