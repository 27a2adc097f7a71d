"""The text of one kernel under construction: nested scopes, value numbering, placement of index arithmetic.

A scope is the straight-line part of a loop body or of a conditional. Its instructions stand in one list, in
front of whatever nested scope is open, so a value of an outer scope dominates everything inside. Equal right-
hand sides are equal values: an instruction without side effects is written once per dominating scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from graphc.codegen.spelling import identifier
from graphc.errors import LoweringError
from graphc.loops.expressions import Buffer, ElementType
from graphc.loops.index import UNBOUNDED, Range
from graphc.target import Target


@dataclass(frozen=True, slots=True)
class RegisterArray:
    """The stack cells of a declared array, row-major over its shape, one behind the other. Every cell becomes a
    register, unless the array is read at a place that is known at run time only."""

    cells: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: ElementType
    lanes: int


@dataclass(slots=True)
class Scope:
    """`values`: right-hand side -> register. `loads`: buffer -> the same for what was read from it.
    `known`: register cell -> the value that it holds."""

    label: str
    lines: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    loads: dict[str, dict[str, str]] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, RegisterArray] = field(default_factory=dict)


class Writer:
    """Collects the instructions of one kernel and the intrinsics that it declares.

    `aliases` names, for each buffer, all buffers that may share its memory, itself included.
    """

    def __init__(self, buffers: Sequence[Buffer], aliases: dict[str, tuple[str, ...]], target: Target) -> None:
        self.buffers = {b.name: b for b in buffers}
        self.strides = {b.name: b.strides for b in buffers}
        self.pointers = {b.name: f"%b{k}" for k, b in enumerate(buffers)}
        self.aliases = aliases
        self.target = target
        self.declarations: dict[str, str] = {}
        self.allocations: list[str] = []
        self.ranges: dict[str, Range] = {"N": (0, UNBOUNDED)}
        self.scopes = [Scope("entry", variables={"N": "%N"})]
        self._depth: dict[str, int] = {}
        self._count = 0

    # ------------------------------------------------------------------------------------------- instructions

    def fresh(self, stem: str = "t") -> str:
        """A register name that nothing else has."""
        self._count += 1
        return f"%{identifier(f'{stem}.{self._count}')}" if stem != "t" else f"%t{self._count}"

    def line(self, text: str) -> None:
        """An instruction without a result, here."""
        self.scopes[-1].lines.append("  " + text)

    def here(self, right: str) -> str:
        """The register that holds `right`, computed here unless a dominating scope has it already."""
        for scope in reversed(self.scopes):
            if (known := scope.values.get(right)) is not None:
                return known
        return self._place(right, len(self.scopes) - 1)

    def hoisted(self, right: str, a: str, b: str = "") -> str:
        """The register that holds `right`, computed as far out as its operands a and b allow.

        Only for instructions that can neither trap nor read memory.
        """
        depths = self._depth
        depth, other = depths.get(a, 0), depths.get(b, 0)
        if other > depth:
            depth = other
        return self.scopes[depth].values.get(right) or self._place(right, depth)

    def _place(self, right: str, depth: int) -> str:
        scope = self.scopes[depth]
        self._count += 1
        register = scope.values[right] = f"%t{self._count}"
        scope.lines.append(f"  {register} = {right}")
        self._depth[register] = depth
        return register

    def depth(self, operand: str) -> int:
        """The scope where an operand is computed; 0 for constants and arguments."""
        return self._depth.get(operand, 0)

    def define(self, register: str) -> None:
        """Note that a register written by other means belongs to the innermost scope."""
        self._depth[register] = len(self.scopes) - 1

    def intrinsic(self, name: str, result: str, *arguments: str) -> str:
        """The right-hand side of a call; `arguments` carry their types."""
        if name not in self.declarations:
            types = ", ".join(a.rpartition(" ")[0] if a[0] != "<" else _type(a) for a in arguments)
            self.declarations[name] = f"declare {result} @{name}({types})"
        return f"call {result} @{name}({', '.join(arguments)})"

    # ------------------------------------------------------------------------------------------------- memory

    def read(self, buffer: str, right: str) -> str:
        """The register that holds what a load reads, loaded once until something is stored there."""
        for scope in reversed(self.scopes):
            if (known := scope.loads.get(buffer, {}).get(right)) is not None:
                return known
        register = self.fresh()
        self.line(f"{register} = {right}")
        self.define(register)
        self.scopes[-1].loads.setdefault(buffer, {})[right] = register
        return register

    def forget(self, buffers: Iterable[str]) -> None:
        """Something is stored to the buffers: what was read from them, or from aliases, is old."""
        for buffer in buffers:
            for alias in self.aliases[buffer]:
                for scope in self.scopes:
                    scope.loads.pop(alias, None)

    def allocate(self, type_text: str, count: int, stem: str) -> tuple[str, ...]:
        """Stack cells one behind the other, allocated in the entry block so that they can become registers."""
        first, *rest = cells = tuple(self.fresh(stem) for _ in range(count))
        self.allocations.append(f"  {first} = alloca [{count} x {type_text}]")
        for k, cell in enumerate(rest, 1):
            self.allocations.append(f"  {cell} = getelementptr {type_text}, ptr {first}, i64 {k}")
        return cells

    # ------------------------------------------------------------------------------------------------- scopes

    def enter(self, stem: str) -> Scope:
        """Open a nested scope at a new label. Cells may change in it: their known values are dropped."""
        self._count += 1
        scope = Scope(identifier(f"{stem}.{self._count}"))
        for outer in self.scopes:
            outer.known.clear()
        self.scopes.append(scope)
        return scope

    def leave(self) -> Scope:
        """Close the innermost scope."""
        return self.scopes.pop()

    def variable(self, name: str) -> str:
        """The register, or the constant, of a loop variable."""
        for scope in reversed(self.scopes):
            if (found := scope.variables.get(name)) is not None:
                return found
        raise LoweringError(f"index variable {name} has no loop around it")

    def bound(self, name: str) -> str:
        """The register of a value bound by Let."""
        for scope in reversed(self.scopes):
            if (found := scope.names.get(name)) is not None:
                return found
        raise LoweringError(f"name {name} is used before it is bound")

    def array(self, name: str) -> RegisterArray:
        """A declared register array."""
        for scope in reversed(self.scopes):
            if (found := scope.arrays.get(name)) is not None:
                return found
        raise LoweringError(f"register array {name} is used before it is declared")

    def buffer(self, name: str) -> Buffer:
        """A buffer of the kernel."""
        try:
            return self.buffers[name]
        except KeyError:
            raise LoweringError(f"buffer {name} is not one of the kernel's: {', '.join(self.buffers)}") from None


def _type(argument: str) -> str:
    """The vector type that an argument starts with."""
    return argument[: argument.index(">") + 1]
