"""The derived formulas themselves, as text, and what the derivation promises about them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sympy as sp

from graphc.autodiff.adjoint import adjoint
from graphc.autodiff.application import Application
from graphc.autodiff.derivation import derivation
from graphc.errors import DerivativeError
from graphc.ops.formula import Read, formula, tensor_symbol
from graphc.ops.notation import Sum, axes, axis
from graphc.ops.operator import Statement, op
from graphc.ops.text import formula_text
from graphc.types import BATCH, TensorType
from tests.autodiff import formulas as f

X10 = f.tensor(BATCH, 10)
IMAGES, KERNELS = f.tensor(BATCH, 3, 8, 8), f.tensor(4, 3, 3, 3)
LABELS = TensorType((BATCH,), f.I32)
ROW = f.tensor(10)

APPLICATIONS = {
    "dense": f.application(f.dense, X10, f.tensor(5, 10)),
    "conv2d": f.application(f.conv2d, IMAGES, KERNELS, padding=1),
    "conv2d stride 2": f.application(f.conv2d, IMAGES, KERNELS, padding=1, stride=2),
    "max_pool": f.application(f.max_pool, IMAGES),
    "max_pool overlapping": f.application(f.max_pool, IMAGES, kernel=3, stride=2, padding=1),
    "avg_pool": f.application(f.avg_pool, IMAGES),
    "softmax": f.application(f.softmax, X10),
    "log_softmax": f.application(f.log_softmax, X10),
    "sparse_cross_entropy": f.application(f.sparse_cross_entropy, X10, LABELS),
    "cross_entropy": f.application(f.cross_entropy, X10, X10),
    "batch_norm": f.application(f.batch_norm, X10, ROW, ROW),
    "layer_norm": f.application(f.layer_norm, X10, ROW, ROW),
    "attention": f.application(f.attention, f.tensor(BATCH, 6, 4), f.tensor(BATCH, 7, 4), f.tensor(BATCH, 7, 5)),
    "broadcast add": f.application(f.add, X10, ROW),
    "sigmoid": f.application(f.logistic, X10),
    "relu": f.application(f.relu, X10),
    "root": f.application(f.root, X10),
    "flatten": f.application(f.flatten, IMAGES),
    "gather": f.application(f.gather, f.tensor(9, 4), TensorType((BATCH, 5), f.I32)),
    "concatenate": f.application(f.concatenate, f.tensor(BATCH, 3), f.tensor(BATCH, 2)),
}


def lines(application: Application, normalise: bool = True) -> list[str]:
    wanted = tuple(n for n, t in application.operands if t.dtype.is_float)
    found = adjoint(application, ((application.statements[-1].name, None),), wanted, normalise)
    return [formula_text(s.formula, s.name) for s in found.statements]


def everything() -> str:
    return "\n".join(
        line
        for title, application in APPLICATIONS.items()
        for line in (
            title,
            *("  " + t for t in lines(application)),
            *("  ~ " + t for t in lines(application, False)),
        )
    )


@pytest.mark.parametrize("name", APPLICATIONS)
def test_adjoint_text(name: str, golden) -> None:
    forward = [formula_text(s.formula, s.name) for s in APPLICATIONS[name].statements]
    assert "\n".join([*forward, "", *lines(APPLICATIONS[name])]) + "\n" == golden


@pytest.mark.parametrize(
    ("name", "operand"),
    [("conv2d stride 2", "X"), ("conv2d", "W"), ("max_pool overlapping", "X"), ("gather", "E")],
)
def test_derivation_text(name: str, operand: str, golden) -> None:
    assert derivation(APPLICATIONS[name], operand) == golden


def conditions_of(name: str) -> dict[str, list[str]]:
    wanted = tuple(n for n, t in APPLICATIONS[name].operands if t.dtype.is_float)
    found = adjoint(APPLICATIONS[name], (("Y", None),), wanted)
    return {s.name: [c.kind for c in s.formula.conditions] for s in found.statements}


def test_convolution_needs_no_bounds() -> None:
    assert conditions_of("conv2d") == {"d_X": [], "d_W": []}
    assert conditions_of("conv2d stride 2") == {"d_X": ["divides", "divides"], "d_W": []}


def test_statement_counts_of_composites() -> None:
    counts = {name: len(lines(application)) for name, application in APPLICATIONS.items()}
    assert counts["softmax"] == 2
    assert counts["sparse_cross_entropy"] == 1
    assert counts["batch_norm"] == 4
    for name in ("softmax", "log_softmax", "sparse_cross_entropy", "cross_entropy", "attention"):
        assert not any(" = min_" in line for line in lines(APPLICATIONS[name])), "the shift has no gradient"
        assert any(" = min_" in line for line in lines(APPLICATIONS[name], normalise=False))


def test_contractions_multiply_reads_only() -> None:
    found = adjoint(APPLICATIONS["attention"], (("Y", None),), ("Q", "K", "V"))
    shared = {s.name: s for s in found.statements}
    assert set(shared["d_Q"].formula.operands) & set(shared["d_K"].formula.operands), "the score's adjoint"
    for name in ("d_Q", "d_K", "d_V"):
        body = shared[name].formula.body
        assert all(isinstance(a, Read) or a.is_Number for a in body.args), formula_text(shared[name].formula)


def test_text_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "import tests.autodiff.test_adjoint as t, hashlib;print(hashlib.sha256(t.everything().encode()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join([*sys.path, str(root)])

    def run(seed: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-P", "-c", program]
        return subprocess.Popen(command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True)

    found = [process.communicate()[0].strip() for process in [run("1"), run("4242")]]
    assert found == [hashlib.sha256(everything().encode()).hexdigest()] * 2


def test_integer_operand_is_refused_by_name() -> None:
    with pytest.raises(DerivativeError, match=r"sparse_cross_entropy: L is i32\[N\]; integers have no derivative"):
        adjoint(APPLICATIONS["sparse_cross_entropy"], (("Y", None),), ("L",))


def test_the_derivative_of_a_product_is_the_product_of_the_others() -> None:
    (i,) = (a for a in APPLICATIONS["dense"].statements[0].formula.over)
    body = Read(tensor_symbol("X"), i.symbol)
    product = Statement("Y", formula((), body, "prod", (i,)), f.tensor())
    derived = adjoint(Application("product", (("X", ROW),), (product,)), (("Y", None),), ("X",))
    assert [str(s.formula) for s in derived.statements] == [
        f"out[i] = Π_{{i'<{i.extent}}} (i' == i ? 1 : X[i'])",
        "out[i] = d_Y·others_Y[i]",
    ]


def test_operand_that_does_not_matter_has_no_cotangent() -> None:
    @op
    def first(A, B):
        n, i = axes("n i")
        return A[n, i] + 0 * B[n, i]

    application = f.application(first, X10, X10)
    found = adjoint(application, (("Y", None),), ("A", "B"))
    assert dict(found.results) == {"A": "d_A", "B": None}


def test_definition_that_is_not_zero_outside_is_stored() -> None:
    """d_s = d_Y/s is read at h - r, outside of its box too, where computing it would give 0/0."""

    @op
    def log_of_windows(X):
        y, r = axis("y", 4), axis("r", 3)
        return sp.log(Sum(X[y + r], over=r))

    application = f.application(log_of_windows, f.tensor(6))
    assert lines(application) == ["d_sum0[y] = d_Y[y]/sum0[y]", "d_X[h] = Σ_{r<3} d_sum0[h - r]"]


def test_conditions_stay_where_a_factor_may_not_be_finite() -> None:
    @op
    def quotients(X, W):
        y, r = axis("y", 4), axes("r")[0]
        return Sum(X[y + r] / W[r, y], over=r)

    application = f.application(quotients, f.tensor(6), f.tensor(3, 4))
    found = adjoint(application, (("Y", None),), ("X",)).statements[-1]
    assert [c.kind for c in found.formula.conditions] == ["ge", "ge"]
