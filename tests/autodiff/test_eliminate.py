"""Delta elimination against a brute-force scatter, for random index maps and for those of known operators."""

from __future__ import annotations

import itertools
import os
import random

import numpy as np
import pytest
import sympy as sp

from graphc.autodiff.adjoint import adjoint
from graphc.autodiff.application import Application
from graphc.autodiff.eliminate import eliminate
from graphc.ops.evaluate import evaluate
from graphc.ops.formula import (
    Axis,
    FloorDiv,
    Mod,
    N,
    Read,
    divides,
    formula,
    ge,
    index_symbol,
    tensor_symbol,
)
from graphc.ops.operator import Statement
from graphc.ops.text import expression_text
from graphc.types import BATCH, DType, TensorType

F64 = DType.FLOAT64
SEEDS = int(os.environ.get("GRAPHC_FUZZ_SEEDS", "300"))


def value_of(e: sp.Expr, point: dict[sp.Symbol, int]) -> sp.Rational:
    """An index expression at one point, in exact arithmetic that shares nothing with the library."""
    if isinstance(e, FloorDiv):
        return sp.floor(value_of(e.args[0], point) / e.args[1])
    if isinstance(e, Mod):
        inner = value_of(e.args[0], point)
        return inner - e.args[1] * sp.floor(inner / e.args[1])
    if e in point:
        return sp.Integer(point[e])
    if not e.args:
        return e
    return e.func(*[value_of(a, point) for a in e.args])


def random_index(rng: random.Random, symbols: list[sp.Symbol], mixed: bool) -> sp.Expr:
    def some(count: int) -> sp.Expr:
        chosen = rng.sample(symbols, min(count, len(symbols)))
        return sp.Add(*[rng.choice([1, 1, 1, -1, 2, 3, 0]) * s for s in chosen]) + rng.randint(-2, 2)

    kind = rng.random()
    if kind < 0.12:
        return FloorDiv(rng.choice(symbols) + rng.randint(0, 2), sp.Integer(rng.randint(2, 3)))
    if kind < 0.22:
        return Mod(rng.choice(symbols) + rng.randint(0, 2), sp.Integer(rng.randint(2, 3)))
    if kind < 0.28:
        return FloorDiv(some(2), sp.Integer(rng.randint(2, 3))) + rng.randint(-1, 1)
    if kind < 0.34 and len(symbols) > 1:
        a, b = rng.sample(symbols, 2)
        return rng.choice([2, 3, 4, 5]) * a + b + rng.randint(-1, 1)
    if kind < 0.40 and mixed:
        return Mod(FloorDiv(rng.choice(symbols), sp.Integer(2)), sp.Integer(2))
    return some(rng.randint(1, 3))


def random_case(seed: int) -> tuple[Application, dict[str, np.ndarray], int, tuple[Read, Read]]:
    rng, values = random.Random(seed), np.random.default_rng(seed)
    symbols = [index_symbol(f"u{k}") for k in range(rng.randint(2, 5))]
    extents: list = [rng.randint(1, 5) for _ in symbols]
    batch = rng.randint(1, 4)
    batched = rng.random() < 0.4
    if batched:
        extents[rng.randrange(len(symbols))] = BATCH
    axes = [Axis(s, e) for s, e in zip(symbols, extents, strict=True)]
    cut = rng.randint(1, len(symbols))
    own, over = tuple(axes[:cut]), tuple(axes[cut:])
    fixed = [a.symbol for a in axes if a.extent is not BATCH] or symbols
    box: tuple = tuple(rng.randint(1, 6) for _ in range(rng.randint(1, 3)))
    index = [random_index(rng, symbols if rng.random() < 0.3 else fixed, True) for _ in box]
    if batched and rng.random() < 0.7:
        box = (BATCH, *box)
        n = next(a.symbol for a in axes if a.extent is BATCH)
        index.insert(0, n if rng.random() < 0.8 else N - 1 - n)
    small: tuple = tuple(rng.randint(1, 5) for _ in range(rng.randint(1, 2)))
    read_x = Read(tensor_symbol("X"), *index)
    read_w = Read(tensor_symbol("W"), *[random_index(rng, symbols, False) for _ in small])
    body = rng.choice([read_x * read_w, sp.exp(read_x / 2) * read_w, read_x**2 * read_w])
    conditions = [ge(random_index(rng, symbols, False))] if rng.random() < 0.3 else []
    if rng.random() < 0.2:
        total = sp.Add(*[rng.choice([1, 2]) * s for s in symbols]) + rng.randint(0, 2)
        conditions.append(divides(rng.choice([2, 3]), total))
    f = formula(own, body, "sum" if over else None, over, conditions)
    types = {"X": TensorType(box, F64), "W": TensorType(small, F64)}
    result = TensorType(f.shape, F64)
    arrays = {n: values.standard_normal(t.concrete(batch)) for n, t in types.items()}
    arrays["d_Y"] = values.standard_normal(result.concrete(batch))
    operands = tuple((n, types[n]) for n in ("X", "W"))
    application = Application("random", operands, (Statement("Y", f, result),))
    return application, arrays, batch, (read_x, read_w)


def holds(condition: sp.Expr, point: dict[sp.Symbol, int]) -> bool:
    values = [value_of(a, point) for a in condition.args[1:]]
    return values[0] >= 0 if condition.kind == "ge" else values[1] % values[0] == 0


def scattered(application: Application, arrays: dict[str, np.ndarray], batch: int, read: Read) -> np.ndarray:
    """The cotangent of a tensor by walking over every element of the forward loops."""
    f = application.statements[0].formula
    result = np.zeros(arrays[read.name].shape)
    reads = {r.name: r for r in (n for n in sp.preorder_traversal(f.body)) if isinstance(r, Read)}
    stand_in = {name: sp.Symbol(f"value_{name}") for name in reads}
    body = f.body.xreplace({r: stand_in[name] for name, r in reads.items()})
    slope = sp.lambdify(list(stand_in.values()), sp.diff(body, stand_in[read.name]), "math")
    loops = (*f.axes, *f.over)
    index_of = {
        name: [sp.lambdify([*[a.symbol for a in loops], N], _exact(i), "math") for i in r.index]
        for name, r in reads.items()
    }

    def element(name: str, place: tuple[int, ...]) -> float:
        array = arrays[name]
        inside = all(0 <= i < e for i, e in zip(place, array.shape, strict=True))
        return float(array[place]) if inside else 0.0

    for point in itertools.product(*[range(batch if a.extent is BATCH else a.extent) for a in loops]):
        if f.conditions:
            named = dict(zip([a.symbol for a in loops], point, strict=True)) | {N: batch}
            if not all(holds(c, named) for c in f.conditions):
                continue
        at = {name: tuple(g(*point, batch) for g in functions) for name, functions in index_of.items()}
        place = at[read.name]
        if all(0 <= i < e for i, e in zip(place, result.shape, strict=True)):
            seed = arrays["d_Y"][point[: len(f.axes)]]
            np.add.at(result, place, seed * slope(*[element(name, at[name]) for name in reads]))
    return result


def _exact(e: sp.Expr) -> str:
    """The index in Python's own // and %, which are exact on integers."""
    if isinstance(e, FloorDiv):
        return f"(({_exact(e.args[0])}) // {e.args[1]})"
    if isinstance(e, Mod):
        return f"(({_exact(e.args[0])}) % {e.args[1]})"
    if e.is_Add or e.is_Mul:
        return "(" + (" + " if e.is_Add else " * ").join(map(_exact, e.args)) + ")"
    return str(e)


def derived(
    application: Application, arrays: dict[str, np.ndarray], batch: int, normalise: bool
) -> dict[str, np.ndarray]:
    found = adjoint(application, (("Y", None),), ("X", "W"), normalise)
    values = dict(arrays)
    for s in application.statements:
        values[s.name] = evaluate(s.formula, values, batch, np.float64)
    for s in found.statements:
        values[s.name] = evaluate(s.formula, values, batch, np.float64)
    return {name: np.zeros(arrays[name].shape) if result is None else values[result] for name, result in found.results}


@pytest.mark.parametrize("block", range(10))
def test_random_index_maps_equal_brute_force_scatter(block: int) -> None:
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        application, arrays, batch, reads = random_case(seed)
        got = derived(application, arrays, batch, normalise=seed % 2 == 0)
        for read in reads:
            expected = scattered(application, arrays, batch, read)
            np.testing.assert_allclose(
                got[read.name], expected, rtol=1e-9, atol=1e-9,
                err_msg=f"seed {seed}: {application.statements[0].formula} with respect to {read}",
            )  # fmt: skip


# ------------------------------------------------------------------------------------------ known index maps


def solve(index: list[sp.Expr], shape: tuple, axes: dict[str, object], over: dict[str, object], conditions=()):
    def make(extents: dict[str, object]) -> tuple[Axis, ...]:
        return tuple(Axis(index_symbol(n), e) for n, e in extents.items())

    return eliminate(Read(tensor_symbol("X"), *index), shape, make(axes), make(over), conditions)


n, y, x, r, j, c = map(index_symbol, "nyxrjc")


def text(elimination) -> str:
    solved = ", ".join(f"{s} := {expression_text(e)}" for s, e in elimination.solved)
    loops = ", ".join(a.name for a in elimination.over)
    conditions = ", ".join(map(expression_text, elimination.conditions))
    return f"{','.join(a.name for a in elimination.axes)}; {loops}; {solved}; {conditions}"


@pytest.mark.parametrize(
    ("index", "shape", "axes", "over", "expected"),
    [
        ([n, j], (BATCH, 5), {"n": BATCH, "j": 5}, {}, "n,j; ; ; "),
        ([y + r], (10,), {"y": 8}, {"r": 3}, "h; r; y := h - r; h - r >= 0, -h + r + 7 >= 0"),
        (
            [2 * y + r],
            (9,),
            {"y": 4},
            {"r": 3},
            "h; r; y := h/2 - r/2; 2 | h - r, h - r >= 0, -h + r + 6 >= 0",
        ),
        ([2 * y + r], (8,), {"y": 4}, {"r": 2}, "h; ; r := (h % 2), y := (h // 2); "),
        ([3 * y + r], (12,), {"y": 4}, {"r": 2}, "h; ; r := (h % 3), y := (h // 3); 1 - (h % 3) >= 0"),
        ([4 * y + 2 * x], (16,), {"y": 4, "x": 2}, {}, "h; ; x := ((h // 2) % 2), y := (h // 4); 2 | h"),
        ([FloorDiv(y, sp.Integer(2))], (4,), {"y": 8}, {}, "h; t; y := 2·h + t; "),
        (
            [FloorDiv(2 * y, sp.Integer(3))],
            (4,),
            {"y": 6},
            {},
            "h; t; y := t + (3·h + 1 // 2); -t - (3·h + 1 // 2) + 5 >= 0, 3·h - 2·t - 2·(3·h + 1 // 2) + 2 >= 0",
        ),
        (
            [FloorDiv(4 * y + 1, sp.Integer(3))],
            (8,),
            {"y": 6},
            {},
            "h; ; y := (3·h + 2 // 4); 3·h - 4·(3·h + 2 // 4) + 1 >= 0",
        ),
        ([sp.Integer(3) - y], (4,), {"y": 4}, {}, "h; ; y := 3 - h; "),
        ([sp.Integer(0), y], (1, 4), {"n": BATCH, "y": 4}, {}, "h,y; n; ; "),
    ],
)
def test_rules(index, shape, axes, over, expected) -> None:
    got = text(solve(index, shape, axes, over))
    assert got == expected


def test_a_sum_over_every_second_element_runs_in_steps() -> None:
    found = solve([r], (4,), {"x": 9, "r": 4}, {}, (divides(2, x - r + 1),))
    assert text(found) == "r; v; x := r + 2·v - 3; r + 2·v - 3 >= 0, -r - 2·v + 11 >= 0"
    few = solve([x], (9,), {"x": 9, "r": 2}, {}, (divides(2, x - r + 1),))
    assert text(few) == "x; r; ; 2 | -r + x + 1"  # five steps would be more than these two


def test_reshape_is_solved_without_loops_or_conditions() -> None:
    index = [
        n,
        FloorDiv(j, sp.Integer(6)),
        Mod(FloorDiv(j, sp.Integer(3)), sp.Integer(2)),
        Mod(j, sp.Integer(3)),
    ]
    found = solve(index, (BATCH, 4, 2, 3), {"n": BATCH, "j": 24}, {})
    assert found.over == ()
    assert found.conditions == ()
    places = dict(found.solved)[j]
    at = dict(zip((a.symbol for a in found.axes), (5, 3, 1, 2), strict=True))
    assert value_of(places, at) == 23


def test_gather_stays_a_condition() -> None:
    rows = Read(tensor_symbol("L"), n)
    found = solve([rows, j], (7, 5), {"n": BATCH, "j": 5}, {})
    assert text(found) == "h,j; n; ; h == L[n]"


def test_element_that_is_never_read_has_no_adjoint() -> None:
    assert solve([y + 10], (5,), {"y": 4}, {}) is None


def test_batch_reversed_is_solved() -> None:
    assert text(solve([N - 1 - n], (BATCH,), {"n": BATCH}, {})) == "h; ; n := N - h - 1; "
