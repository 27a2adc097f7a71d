"""Things apart are told apart, and one thing is one."""

from functools import partial
from itertools import combinations

import pytest
import sympy as sp

import graphc as gc
from graphc.graph.ir import Node, Value
from graphc.ops.fingerprint import UnidentifiedError, fingerprint, pattern
from graphc.ops.formula import Axis, Read, Reduce, formula, index_symbol, tensor_symbol
from graphc.ops.scalars import DECLARED, scalar_function
from graphc.types import BATCH, DType, Location, TensorType

X, Y = index_symbol("i"), index_symbol("j")


def read(name, *index):
    return Read(tensor_symbol(name), *index)


def out(body, *extents):
    return formula([Axis(s, e) for s, e in zip((X, Y), extents, strict=False)], body)


DIFFERENT = [
    None, True, 1, 1.0, "1", b"1", (1,), [1], ((1,),), (1, 1), {"a": 1}, {"a": 2}, frozenset({1}), frozenset({1, 2}),
    BATCH, DType.FLOAT32, DType.INT64, TensorType((BATCH, 3)), TensorType((3, BATCH)),
    TensorType((BATCH, 3), DType.INT32),
    sp.Integer(1), sp.Float(1.0), sp.Float(1.0, 30), sp.Rational(1, 3), sp.Float(1 / 3), sp.pi, sp.Symbol("i"), X, Y,
    X + Y, X - Y, X * Y, X**2, sp.exp(X), sp.log(X), gc.scalars.sigmoid(X), gc.scalars.tanh(X),
    read("x", X), read("x", Y), read("y", X), read("x", X, Y), read("x", Y, X), read("x", X + 1),
    out(read("x", X), 4), out(read("x", X), 5), out(read("x", X), BATCH), out(read("x", X), 4, 2),
    out(read("x", X) * 2, 4), out(read("x", X) * 2.0, 4), out(read("x", X) * (2 + 2**-50), 4),
    Reduce(sp.Symbol("sum"), read("x", X), sp.Tuple(sp.Tuple(X, 4))),
    Reduce(sp.Symbol("max"), read("x", X), sp.Tuple(sp.Tuple(X, 4))),
    Reduce(sp.Symbol("sum"), read("x", X), sp.Tuple(sp.Tuple(X, 5))),
]  # fmt: skip


def test_no_two_things_share_a_digest():
    digests = [fingerprint(thing) for thing in DIFFERENT]
    pairs = combinations(zip(DIFFERENT, digests, strict=True), 2)
    assert [(one, other) for (one, a), (other, b) in pairs if a == b] == []


def test_one_thing_has_one_digest_however_it_was_built():
    a, b = read("x", X), read("y", X)
    assert fingerprint(a * b + 1) == fingerprint(1 + read("y", X) * read("x", X))
    shared = a + b
    assert fingerprint((shared, shared)) == fingerprint((a + b, read("x", X) + read("y", X)))
    deep, again = (a, b), (a, b)
    for _ in range(60):
        deep, again = (deep, deep), (again, again)  # written out it would have 2^60 parts
    assert fingerprint(deep) == fingerprint(again)


def test_a_line_of_the_user_does_not_count_but_a_name_does():
    node = Node("f", out(read("x", X), 4), (Value(0, TensorType((4,))),), Value(1, TensorType((4,))), 0)
    moved = Node(node.operator, node.formula, node.inputs, node.output, 0, location=Location("here.py", 7))
    assert fingerprint(node) == fingerprint(moved)
    named = Node(node.operator, node.formula, (Value(0, TensorType((4,)), "x"),), node.output, 0)
    assert fingerprint(node) != fingerprint(named)


def test_functions_are_their_place_and_what_they_hold():
    passes = gc.pipeline.lowering_passes
    target = gc.pipeline.host()
    other = gc.pipeline.replace(target, registers=7)
    assert fingerprint(passes(target)) == fingerprint(passes(target))
    assert fingerprint(passes(target)) != fingerprint(passes(other))
    assert fingerprint(partial(out, 1).args) != fingerprint(partial(out, 2).args)


def own(x):
    return x


def test_what_cannot_be_identified_is_refused():
    class Thing:
        pass

    for thing in (object(), Thing(), own, lambda: 1, sp.Function("f")(X), type("Exp", (sp.exp,), {})):
        with pytest.raises(UnidentifiedError, match="cannot be told"):
            fingerprint((1, thing))


def test_functions_that_the_user_declares_count_by_their_formula():
    def declared(formula):
        scalar = scalar_function("hump", formula)
        try:
            return fingerprint(scalar(X)), fingerprint(1)
        finally:
            del DECLARED["hump"]

    square, again, cube = declared(lambda x: x**2), declared(lambda x: x**2), declared(lambda x: x**3)
    assert square == again
    assert square[0] != cube[0]
    assert square[1] != cube[1]  # derivatives of other functions may be found among those that are declared


def test_a_pattern_forgets_names_but_not_which_is_which():
    def product(a, b, axis="i"):
        i = index_symbol(axis)
        return formula([Axis(i, 4)], read(a, i) * read(b, i + 1))

    def of(f):
        return pattern(f, f.operands)

    assert of(product("a", "b"))[0] == of(product("u", "v"))[0]
    assert of(product("u", "v"))[1] == ("u", "v")
    assert of(product("a", "b"))[0] != of(product("a", "a"))[0]
    assert of(product("a", "b"))[0] != of(product("a", "b", "k"))[0]
    assert pattern(("a", "b", "a"), {"a", "b"})[0] == pattern(("p", "q", "p"), {"p", "q"})[0]
    assert pattern(("a", "b", "a"), {"a", "b"})[0] != pattern(("p", "q", "q"), {"p", "q"})[0]
    assert pattern(("a", "b"), {"a"})[0] != pattern(("a", "c"), {"a"})[0]
