"""The report: its numbers against the program's, its findings against programs that have them."""

import re
from math import prod

import pytest

import graphc as gc
from graphc.loops.expressions import Buffer, Compare, Const, Extract, Load, Name, Number, Pack, Select
from graphc.loops.index import constant, variable
from graphc.loops.ir import For, Function, Let, Mode, Store
from graphc.ops.cost import polynomial
from graphc.pipeline import compile_inference, compile_training
from graphc.schedule.buffers import memory_bytes
from graphc.schedule.roofline import kernel_flops, least_traffic, predictions, traffic
from graphc.study.explain import explain, summary
from graphc.study.scopes import layer_of, unit_name
from graphc.study.slowpaths import parallel_pieces, slow_paths
from graphc.study.tables import bytes_text, each_sample, number_text, table, time_text
from graphc.types import BATCH, DType

F32 = DType.FLOAT32
N = variable("N")


def test_the_report_begins_with_what_the_program_is(network):
    text = network.explain()
    step, program = network.compiled.step, network.compiled.program
    assert text.startswith(summary(network.compiled, 1))
    facts = dict(re.findall(r"^(\w+) +(.*)$", summary(network.compiled, 1), re.MULTILINE))
    assert facts["path"] == "training, one native call, 8 tensors updated"
    assert facts["inputs"].startswith("images f32[N,1,8,8], labels i64[N]")
    assert facts["kernels"] == f"{len(program.kernels)}, compiled as {len(step.functions)} distinct functions"
    assert facts["target"].startswith(f"{network.compiled.target.name}: ")
    assert facts["threads"] == "1, no thread is woken"
    assert summary(network.compiled, 2).count("threads   2\n") == 1


def test_each_unit_has_a_row(network):
    text = network.explain()
    rows = [r for r in text.splitlines() if re.match(r"  k[\d-]+ +\S+ +", r) and r.endswith("%")]
    units = network.compiled.program.units
    assert [r.split()[0] for r in rows] == list(map(unit_name, units))
    assert [r.split()[1] for r in rows] == [layer_of(u) or "-" for u in units]
    shares = [float(r.split()[-1].rstrip("%")) for r in rows]
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(rows))
    first = next(r for r in rows if "conv2d" in r)
    assert re.search(r"conv2d \+ bias \+ relu +outer product, .*tile \d+x\d+ vectors, rows along ", first)
    for cost in predictions(network.compiled.program, network.compiled.target):
        assert f" {cost.strategy} " in text


def test_what_was_considered_is_said(network):
    text = network.explain()
    section = text[text.index("considered for sums of products") :].split("\n\n")[0]
    said = {r.subject: r.text for r in network.stages.remarks if r.stage == "apply_winograd"}
    conv = next(n for n in network.compiled.graph.nodes if n.operator == "conv2d")
    (name,) = [unit_name(u) for u in network.compiled.program.units if conv.output in [s.value for s in u[0].stages]]
    (line,) = [r for r in section.splitlines() if r.startswith(f"  {said[str(conv.output)]}: ")]
    assert name in line.rpartition(": ")[2].split(", ")
    assert re.search(r"tile \d+x\d vectors.* would start [\d.]+% of the multiply-adds, ", section)


def test_traffic_is_compared_with_the_least(network):
    program = network.compiled.program
    memories = {m.name: m for m in program.memories}
    moved = sum(traffic(u, memories)(64) for u in program.units)
    text = re.search(r"^traffic: .*, (.*) at batch 64\n  ([\d.]+) times", network.explain(), re.MULTILINE)
    assert text.group(1) == bytes_text(moved)
    assert float(text.group(2)) == pytest.approx(moved / least_traffic(program)(64), abs=0.05)


@pytest.fixture(scope="module")
def chained():
    """A convolution between others of as many channels: computed in chains, forward and backward."""
    x = gc.input("x", (gc.BATCH, 16, 16, 16))
    y = gc.Conv2d(16, 3, padding=1, name="first")(x)
    y = gc.Conv2d(16, 3, padding=1, name="second")(y)
    return compile_training((y * y).mean(), threads=1, winograd="fast")


def test_chains_are_explained_as_one(chained):
    program = chained.compiled.program
    chains = [u for u in program.units if u[0].chain]
    assert chains
    text = chained.explain()
    for unit in chains:
        (row,) = [r for r in text.splitlines() if r.startswith(f"  {unit[0].name}-{unit[-1].name} ")]
        assert re.search(r"chain F\(\dx\d, \dx\d\) by \d+ n", row)
    assert re.search(r"F\(.*of its operations: k\d+-k\d+", text)


def test_chains_are_printed_together_with_what_they_walk_over(chained):
    unit = next(u for u in chained.compiled.program.units if u[0].chain)
    lines = chained.text("kernels").splitlines()
    start = lines.index(
        f"{unit[0].chain.name}: {len(unit)} kernels together, block by block: {unit[0].chain.walks[0].block} of n"
    )
    inside = [line.split()[1] for line in lines[start + 1 :] if line.startswith("  kernel ")]
    assert inside[: len(unit)] == [k.name for k in unit]


def test_the_mathematics_is_that_of_the_operators(chained):
    text = chained.text("math", "second")
    assert "conv2d " in text
    assert "∂L/∂second.weight" in text
    assert "winograd" not in text
    assert "winograd" in chained.text("graph")


def test_the_times_add_up_to_the_whole(network):
    text = network.explain()
    whole = float(re.search(r"compiled in ([\d.]+) s", text).group(1))
    assert whole == pytest.approx(network.compile_seconds, abs=0.006)
    parts = re.search(r"compiled in .*\n((?:  .* s +\d+%\n)+)", text).group(1)
    assert sum(float(t) for t in re.findall(r"([\d.]+) s", parts)) == pytest.approx(whole, abs=0.02)
    for name in ("differentiate", "schedule", "loops", "emit", "llvm parse", "llvm generate"):
        assert f"  {name} " in parts


def test_work_and_traffic_are_counted_from_the_formulas():
    x = gc.input("x", (gc.BATCH, 3))
    y = gc.nn.Dense(2, name="layer")(x)
    program = compile_inference(y, threads=1).compiled.program
    (kernel,) = program.kernels
    assert kernel_flops(kernel) == polynomial((0, 2 * 3 * 2 + 2))
    memories = {m.name: m for m in program.memories}
    padded = {n: memories[n].layout.last or 2 for n in ("layer.weight", "layer.bias")}
    held = 4 * (3 * padded["layer.weight"] + padded["layer.bias"])
    out = memories[program.outputs[0]].layout.last or 2
    assert traffic((kernel,), memories) == polynomial((held, 4 * (3 + out)))


def test_partial_sums_count_each_term_once(network):
    found = 0
    for kernel in network.compiled.program.kernels:
        f = kernel.stages[0].formula
        if kernel.split and len(f.operands) == 1 and f.reduction == "sum":
            fixed = [a.extent for a in (*f.axes[1:], *f.over) if isinstance(a.extent, int)]
            assert kernel_flops(kernel) == polynomial((0, prod(fixed)))
            found += 1
    assert found


def test_memory_is_that_of_the_executable(network):
    text = network.explain()
    temporaries = [m for m in network.compiled.program.memories if m.role == "temporary"]
    slots = len({m.slot for m in temporaries})
    assert f"memory: {len(temporaries)} temporaries in {slots} slots" in text
    for batch in (1, 64):
        arena = bytes_text(network.compiled.executable.arena_bytes(batch))
        apart = bytes_text(sum(memory_bytes(m, batch) for m in temporaries))
        assert re.search(rf"^ +{batch} +{arena} +{apart}$", text, re.MULTILINE)


def test_copies_and_borders_have_their_reason(network):
    text = network.explain()
    copies = [k for k in network.compiled.program.kernels if any(r.startswith("copy ") for r in k.remarks)]
    assert copies
    for kernel in copies:
        (name,) = kernel.writes
        assert re.search(rf"^  {re.escape(name)} .*: copied in {kernel.name} because k\d+ needs ", text, re.MULTILINE)


def test_what_is_stored_for_the_backward_part_is_in_memory(network):
    text = network.explain()
    head, names = re.search(r"stored for the backward part: (\d+) values.*\n  (.*)\n", text).groups()
    stored = [part.split()[0] for part in names.split(", ")]
    assert int(head) == len(stored)
    program = network.compiled.program
    forward = {n.output.id for n in network.compiled.graph.nodes if n.origin is None}
    for name in stored:
        assert program.memory(name).role == "temporary"
        assert int(name[1:]) in forward


def test_an_inference_program_stores_nothing_for_later(line):
    training, inference = line
    assert "backward" in training.explain()
    text = inference.explain()
    assert text.startswith("path      inference, one native call\n")
    assert "backward" not in text
    assert "differentiate" not in text


def test_remarks_of_kernels_are_listed(network):
    remarks = [r for k in network.compiled.program.kernels for r in k.remarks if not r.startswith("copy ")]
    assert remarks
    for remark in remarks:
        assert f": {remark}" in network.explain()


# ------------------------------------------------------------------------------------------------ slow paths


def test_reads_at_labels_are_found_in_a_whole_program():
    x, labels = gc.input("x", (gc.BATCH, 5)), gc.input("labels", (gc.BATCH,), "int64")
    logits = gc.nn.Dense(7, name="layer")(x)
    text = compile_training(gc.cross_entropy(logits, labels), threads=1).explain()
    assert "one lane at a time: the place depends on data" in text
    assert "guarded reads of " in text
    assert "the last vector along the batch is partial" in text


def test_whole_vectors_have_no_slow_path():
    x = gc.input("x", (gc.BATCH, 16))
    program = compile_inference(gc.relu(x), threads=1)
    assert "slow paths: none, every access moves whole vectors" in program.explain()


def function(*body, **buffers):
    return Function("f", tuple(Buffer(n, F32, s) for n, s in buffers.items()), body)


A, B = Buffer("a", F32, (BATCH, 40)), Buffer("b", F32, (BATCH, 12))
NOTHING = function()


def lanes_of_a(place):
    items = tuple(Load(A, place(lane)) for lane in range(8))
    return function(Let("v", Pack(items)))


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (lambda k: (N - 1, constant(5 * k)), "neighbouring lanes are 5 elements apart"),
        (lambda k: (variable("n") + k, constant(0)), "neighbouring lanes are 40 elements apart"),
        (lambda k: (constant(0), constant(min(k, 5) * 3)), "neighbouring lanes are 3 elements apart"),
        (lambda k: (constant(0), constant(k * k)), "neighbouring lanes are at unequal distances"),
        (
            lambda k: (constant(0), constant(k)),
            "neighbours in memory, but not known to be in one row or block everywhere",
        ),
    ],
)
def test_packed_reads_say_how_far_apart_they_are(place, reason):
    assert slow_paths(NOTHING, lanes_of_a(place)) == (f"reads of a one lane at a time: {reason}",)


def test_scattered_writes_are_one_finding():
    value = Name("v", F32, 8)
    stores = [Store(A, (constant(0), constant(4 * k)), Extract(value, k)) for k in range(8)]
    assert slow_paths(NOTHING, function(*stores)) == (
        "writes of a one lane at a time: neighbouring lanes are 4 elements apart",
    )
    assert slow_paths(NOTHING, function(stores[0])) == ()


def test_masks_say_whether_the_row_or_the_batch_ends():
    tail = constant(4)
    masked = [
        Let("p", Load(A, (constant(0), constant(0)), 8, tail)),
        Let("q", Load(B, (constant(0), constant(8)), 8, tail)),
        Let("r", Load(Buffer("c", F32, (BATCH,)), (constant(0),), 8, tail)),
        Store(A, (constant(0), constant(0)), Name("p", F32, 8), tail),
    ]
    assert slow_paths(NOTHING, function(*masked)) == (
        "masked writes of a: the last vector is partial, and what follows in the row of 40 must stay as it is",
        "masked reads of a: the last vector is partial and could leave the row of 40",
        "masked reads of b: rows of 12 are not whole vectors of 8",
        "masked reads of c: the last vector along the batch is partial",
    )


def test_a_guard_is_a_test_of_indices_and_not_of_data():
    load, zero = Load(A, (constant(0), variable("i"))), Const(0, F32)
    inside = Compare("le", Number(variable("i"), DType.INT32), Const(39, DType.INT32))
    positive = Compare("lt", zero, Load(B, (constant(0), variable("i"))))
    assert slow_paths(function(Let("v", Select(inside, load, zero))), NOTHING) == (
        "guarded reads of a: an index may leave the tensor where no border is kept",
    )
    assert slow_paths(function(Let("v", Select(positive, load, zero))), NOTHING) == ()


def test_pieces_are_the_iterations_of_parallel_loops():
    inner = For("y", constant(0), constant(4), (), Mode.SERIAL)
    outer = For("n", constant(2), N * 3, (inner,), Mode.PARALLEL)
    assert list(map(str, parallel_pieces(function(outer, inner)))) == ["3*N-2"]


# ------------------------------------------------------------------------------------------------ text


def test_numbers_for_people():
    assert [number_text(n) for n in (0, 9999, 10_000, 123_456, 12_345_678, 3 * 10**9)] == [
        "0", "9,999", "10 k", "123 k", "12.3 M", "3 G",
    ]  # fmt: skip
    assert [bytes_text(n) for n in (0, 1023, 1024, 1536, 1_000_000, 5 << 30)] == [
        "0 B", "1023 B", "1 kB", "1.5 kB", "977 kB", "5 GB",
    ]  # fmt: skip
    assert bytes_text(1020 << 10) == "1020 kB"
    assert each_sample(polynomial((300, 235_200))) == "235 k·N + 300"
    assert each_sample(polynomial((0, 0, 7))) == "7·N^2"
    assert each_sample(polynomial(())) == "0"


def test_times_for_people():
    times = (2.0, 0.0123456, 999.6e-6, 1.5e-4, 2.5e-6, 1.2e-7)
    assert list(map(time_text, times)) == ["2 s", "12.3 ms", "1 ms", "150 µs", "2.5 µs", "0.12 µs"]


def test_columns_are_aligned():
    assert table([("a", "12"), ("bcd", "3")], "lr") == "  a    12\n  bcd   3"


def test_explain_is_a_function_of_the_compilation(line):
    training, _ = line
    assert explain(training.compiled, 1) == training.explain()
