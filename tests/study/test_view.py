"""Stages as text: what is in them, and that a layer's part is exactly a part."""

import re

import pytest

import graphc as gc
from graphc.errors import GraphError
from graphc.loops.ir import Call
from graphc.pipeline import compile_training
from graphc.study.math import ADJOINT, FORWARD, UPDATE, entries, forward_values
from graphc.study.scopes import applied, check_scope, functions_of, matches
from graphc.study.view import STAGES

LAYERS = ["conv1", "pool1", "conv2", "flatten", "hidden", "output"]


def test_the_mathematics_of_a_layer(line):
    training, _ = line
    heading, *lines = training.text("math", "layer").splitlines()
    assert heading.startswith("layer   conftest.py:")
    assert [" ".join(text.split()) for text in lines] == [
        "dense t4[n,o] = Σ_{i<3} layer.weight[o, i]·x[n, i]",
        "f32[N,2], 6 multiply-adds per sample",
        "bias t5[n,k] = layer.bias[k] + t4[n, k]",
        "f32[N,2], 2 operations per sample",
        "relu t6[n,i] = (t5[n, i] <= 0 ? 0 : t5[n, i])",
        "f32[N,2], 4 operations per sample",
        *_relu_adjoint(training),
        "f32[N,2], 4 operations per sample",
        "∂L/∂layer.bias t11[k] = Σ_{n<N} t10[n, k]",
        "f32[2], 2 operations per sample",
        "∂L/∂layer.weight t12[o,i] = Σ_{n<N} t10[n, o]·x[n, i]",
        "f32[2,3], 6 multiply-adds per sample",
        "new layer.weight t14[n,i] = -lr·t12[n, i] + layer.weight[n, i]",
        "f32[2,3], 12 operations",
        "new layer.bias t15[i] = -lr·t11[i] + layer.bias[i]",
        "f32[2], 4 operations",
    ]


def _relu_adjoint(training):
    """The derivative of relu may test its operand or its result."""
    forms = [f"∂L/∂t5 t10[n,i] = ({t}[n, i] <= 0 ? 0 : t9[n, i])" for t in ("t5", "t6")]
    text = " ".join(training.text("math", "layer").split())
    return [form for form in forms if form in text]


def test_inference_has_no_adjoints(line):
    _, inference = line
    assert "∂" not in inference.text("math")
    assert "dense" in inference.text("math")
    with pytest.raises(GraphError, match="an inference program has no derivatives"):
        inference.text("derivatives")


def test_every_node_of_the_graph_is_in_the_mathematics_once(network):
    graph = network.compiled.graph
    text = network.text("math")
    for node in graph.nodes:
        assert len(re.findall(rf"  t{node.output.id}(?:\[[\w,]*\])? = ", text)) == 1
    parts = {node.output: part for node, part in ((e.node, e.part) for e in entries(graph))}
    assert set(parts.values()) == {FORWARD, ADJOINT, UPDATE}
    assert {parts[new] for _, new in graph.updates} == {UPDATE}
    assert [parts[v] for v in graph.outputs] == [FORWARD, FORWARD]


def test_what_only_the_update_needs_belongs_to_the_update():
    x = gc.input("x", (gc.BATCH, 3))
    loss = (gc.nn.Dense(1, name="layer")(x) ** 2).mean()
    graph = compile_training(loss, optimizer=gc.Adam(), threads=1).compiled.graph
    parts = {}
    for entry in entries(graph):
        parts.setdefault(entry.part, []).append(entry.node)
    assert {n.operator for n in parts[UPDATE]} >= {"running_mean", "running_square", "adam_update"}
    assert not any(n.operator.startswith("adam") for n in (*parts[FORWARD], *parts[ADJOINT]))
    assert forward_values(graph) == {n.output for n in parts[FORWARD]}


def test_each_parameter_has_its_gradient_and_its_update_in_the_text(network):
    text = network.text("math")
    for name in network.parameters:
        assert text.count(f"∂L/∂{name} ") == 1
        assert text.count(f"new {name} ") == 1


def test_latex_of_a_layer(line):
    training, inference = line
    text = training.text("latex")
    assert text.startswith("# The mathematics of the training program\n\n## layer\n")
    assert "$$\n{t_{4}}_{n,o} = \\sum_{i<3} W^{\\mathrm{layer}}_{o,i} \\mathrm{x}_{n,i}\n$$" in text
    bar = r"\bar{W^{\mathrm{layer}}}_{o,i} = \sum_{n<N} {\bar{t_{5}}}_{n,o} \mathrm{x}_{n,i}"
    assert bar in text
    assert r"\bar" not in inference.text("latex")
    assert text.count("$$") == 2 * len(training.compiled.graph.nodes)


def test_derivatives_are_derived_step_by_step(line):
    training, _ = line
    lines = [" ".join(text.split()) for text in training.text("derivatives", "layer").splitlines()]
    start = lines.index("∂L/∂layer.weight")
    assert lines[start - 1] == "∂L/∂x is not needed: an input"
    assert lines[start + 1] == (
        "1 chain rule d_layer.weight[o', i'] += Σ_{n,o,i} d_t4[n, o] · ∂t4[n, o]/∂layer.weight[o', i']"
    )
    assert lines[start + 3].startswith("3 solve deltas o := o', i := i'")
    assert lines[start + 6] == "6 normalised d_layer.weight[o,i] = Σ_{n<N} d_t4[n, o]·x[n, i]"
    assert "∂L/∂layer.weight t12[o,i] = Σ_{n<N} t10[n, o]·x[n, i]" in lines


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_a_layer_is_part_of_the_stage(network, stage):
    whole, part = network.text(stage), network.text(stage, "conv2")
    assert 0 < len(part) < len(whole)
    comments = ("#", ";")  # which call a function belongs to
    known = set(whole.splitlines())
    missing = [t for t in part.splitlines() if t not in known and not t.startswith(comments)]
    assert missing == []


def test_every_pass_can_be_read(network):
    for record in network.stages.records:
        whole, part = network.text(record.stage), network.text(record.stage, "conv1")
        assert 0 < len(part) < len(whole), record.stage


@pytest.mark.parametrize("stage", ["graph", "kernels", "loops", "vectors", "llvm"])
def test_text_is_the_same_in_every_compilation(network, another, stage):
    assert another.text(stage) == network.text(stage)


def test_graph_shows_formulas_and_updates(line):
    training, _ = line
    text = training.text("graph")
    assert "    %4[n,o] = Σ_{i<3} W[o, i]·X[n, i]\n" in text
    assert "update %layer.weight <- %14\n" in text
    assert text.endswith("return %8\n")


def test_loops_name_the_memories_of_the_program(network):
    text = network.text("loops", "conv1")
    assert "conv1.weight: f32[" in text
    assert "unroll:" in text
    assert "vector " in text
    assert not re.search(r"\bb0\b", text)
    vectors = network.text("vectors", "conv1")
    assert "unroll:" not in vectors
    assert "conv1.weight[" in vectors


@pytest.mark.parametrize("layer", LAYERS)
def test_functions_of_a_layer_are_those_that_its_calls_name(network, layer):
    calls = [i for i in network.compiled.step.body if isinstance(i, Call) and layer in i.scope.split("+")]
    names = list(dict.fromkeys(c.function for c in calls))
    assert names
    assert [f.name for f, _ in functions_of(network.compiled.step, layer)] == names
    llvm, asm = network.text("llvm", layer), network.text("asm", layer)
    assert re.findall(r"^define .*@(\w+)\(", llvm, re.MULTILINE) == names
    assert re.findall(r"^(kernel\d+):", asm, re.MULTILINE) == names
    assert llvm.count("\n}\n") == len(names)


def test_the_whole_machine_code_has_the_entry(network):
    assert re.search(r"^step:", network.text("asm"), re.MULTILINE)
    assert "define void @step(" in network.text("llvm")


def test_a_call_gives_a_function_the_names_of_its_memories(network):
    (function, (call, *_)), *_ = functions_of(network.compiled.stages["lower"], "pool1")
    named = applied(function, call)
    assert tuple(b.name for b in named.buffers) == call.buffers
    assert [b.shape for b in named.buffers] == [b.shape for b in function.buffers]
    assert named.scope == call.scope


@pytest.mark.parametrize(
    ("scope", "wanted", "expected"),
    [
        ("conv1", "conv1", True),
        ("conv1", None, True),
        ("", None, True),
        ("features/conv1", "features", True),
        ("features/conv1", "features.conv1", True),
        ("features/conv1", "conv1", False),
        ("conv10", "conv1", False),
        ("pool1+conv1", "conv1", True),
        ("pool1+features/conv1", "features", True),
        ("", "conv1", False),
    ],
)
def test_scopes(scope, wanted, expected):
    assert matches(scope, wanted) is expected


def test_what_does_not_exist_is_answered_with_what_does(network):
    with pytest.raises(GraphError, match="no stage soup") as error:
        network.text("soup")
    assert "math, latex, derivatives" in error.value.hint
    assert "assign_buffers" in error.value.hint
    for stage in (*STAGES, "lower", "fuse", "assign_buffers"):
        with pytest.raises(GraphError, match="no layer conv9") as error:
            network.text(stage, "conv9")
        assert "conv1" in error.value.hint
    with pytest.raises(GraphError, match="no layer x"):
        check_scope("x", [""])
