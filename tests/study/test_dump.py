"""Numbered files of every stage."""

import numpy as np
import pytest

import graphc as gc
from graphc.pipeline import compile_inference, compile_training
from graphc.study.dump import Dump, suffix_of
from graphc.study.gradients import compile_gradients


@pytest.fixture
def dense():
    x = gc.input("x", (gc.BATCH, 3))
    return x, gc.nn.Dense(2, "tanh", name="layer")(x)


def suffixes(directory):
    files = sorted(directory.iterdir())
    assert [int(f.name[:2]) for f in files] == list(range(len(files)))
    return {f.name[3:].rpartition(".")[0]: f.suffix for f in files}


def test_training_leaves_a_file_for_each_stage(dense, tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    program = compile_training((dense[1] * dense[1]).mean(), threads=1)
    found = suffixes(tmp_path)
    assert list(found) == [*[r.stage for r in program.stages.records], "native"]
    kinds = {suffix: [n for n, s in found.items() if s == suffix] for suffix in dict.fromkeys(found.values())}
    assert list(kinds) == [".graph", ".program", ".loop", ".ll", ".s"]
    assert kinds[".program"] == [
        "fuse", "form_rows", "form_chains", "split_reductions", "stack_sums", "plan_layouts", "read_sources",
            "assign_buffers",
    ]  # fmt: skip
    assert kinds[".loop"][0] == "lower"
    assert kinds[".ll"] == ["emit"]
    assert kinds[".s"] == ["native"]


def test_files_hold_the_programs(dense, tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    program = compile_inference(dense[1], threads=1)
    texts = {f.name[3:]: f.read_text(encoding="utf-8") for f in tmp_path.iterdir()}
    assert texts["trace.graph"].startswith("# trace  ")
    assert texts["assign_buffers.program"].endswith(str(program.stages["assign_buffers"]))
    assert texts["lower.loop"].endswith(str(program.stages["lower"]))
    assert "kernel k0  layer" in texts["fuse.program"]
    assert texts["emit.ll"].startswith("; emit  ")
    assert texts["emit.ll"].endswith(program.text("llvm"))
    assert texts["native.s"] == program.text("asm")
    unchanged = [r.stage for r in program.stages.records if not r.changed]
    assert unchanged
    for stage in unchanged:
        (text,) = [t for name, t in texts.items() if name.rpartition(".")[0] == stage]
        assert text.splitlines()[0].endswith("nothing changed")


def test_gradients_are_dumped_as_well(dense, tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    x, y = dense
    value, grads = compile_gradients(y.sum(), wrt=[x])(x=np.zeros((2, 3), np.float32))
    assert value == 0
    assert grads["x"].shape == (2, 3)
    found = suffixes(tmp_path)
    first, *_, last = found
    assert (first, last) == ("trace", "native")
    assert found["differentiate"] == ".graph"


def test_what_is_no_program_is_refused(tmp_path):
    with pytest.raises(TypeError, match="int is no program"):
        suffix_of(3)
    with pytest.raises(TypeError):
        Dump(tmp_path).after("odd", None, object(), 0.0, ())
    assert not list(tmp_path.iterdir())
