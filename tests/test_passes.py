"""The runner: order, verification, observers, remarks, stopping; and the dump of every stage."""

from __future__ import annotations

import pytest

from graphc.errors import VerificationError
from graphc.graph.passes import eliminate_dead_code, fold_constants
from graphc.graph.verifier import verify
from graphc.passes import History, Named, Remark, remark, run
from graphc.study.dump import Dump, dump_from_environment
from graphc.types import BATCH
from tests.graph.passes.build import build
from tests.strategies import ones_like, pad, relu, softmax


def double(number: int) -> int:
    return 2 * number


def keep(number: int) -> int:
    remark(f"{number}", "left alone")
    remark(f"{number}", "left alone")
    return number


def accept(number: int, stage: str) -> None:
    if number > 100:
        raise VerificationError(f"after {stage}: {number} is too large")


def test_passes_run_in_order_and_are_recorded() -> None:
    history = History()
    assert run([double, keep, Named("plus 1", lambda n: n + 1)], 5, accept, [history]) == 11
    assert [(r.stage, r.before, r.after, r.changed) for r in history.records] == [
        ("double", 5, 10, True),
        ("keep", 10, 10, False),
        ("plus 1", 10, 11, True),
    ]
    assert history.remarks == (Remark("keep", "10", "left alone"),)
    assert all(r.seconds >= 0 for r in history.records)
    assert history["double"] == 10
    with pytest.raises(KeyError, match="no stage halve; there are double, keep, plus 1"):
        history["halve"]


def test_it_stops_after_the_named_pass() -> None:
    assert run([double, keep, double], 5, accept, stop_after="keep") == 10
    assert run([double, keep], 5, accept, stop_after="elsewhere") == 10


def test_a_broken_result_is_reported_and_never_observed() -> None:
    history = History()
    with pytest.raises(VerificationError, match="after double: 160 is too large"):
        run([double, double], 40, accept, [history])
    assert [r.after for r in history.records] == [80]


def test_remarks_without_a_runner_are_dropped() -> None:
    history = History()
    keep(1)
    run([double], 1, accept, [history])
    assert history.remarks == ()


def test_each_stage_becomes_a_numbered_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path / "stages"))
    (dump,) = dump_from_environment("training")

    def body(b, x):
        b.apply(softmax, (x,))
        return [b.apply(relu, (b.apply(pad, (b.apply(ones_like, (x,)),)),))]

    run([eliminate_dead_code, fold_constants], build(body, (BATCH, 4)), verify, [dump])
    names = sorted(p.name for p in (tmp_path / "stages").iterdir())
    assert names == ["00-eliminate_dead_code.graph", "01-fold_constants.graph"]
    first = (tmp_path / "stages" / names[0]).read_text(encoding="utf-8")
    second = (tmp_path / "stages" / names[1]).read_text(encoding="utf-8")
    assert first.startswith("# eliminate_dead_code  ")
    assert "%4: f64[N,4] = ones_like()\n    %4[i0,i1] = 1\n" in first
    assert "softmax" not in first
    assert "nothing changed" in second.splitlines()[0]
    assert second.splitlines()[1] == ("# %5: constant %4 not folded: it is read outside its box, where it is zero")


def test_no_dump_unless_asked_for(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("GRAPHC_DUMP", raising=False)
    assert dump_from_environment("training") == ()
    dump = Dump(tmp_path)
    assert dump.write("emit", "ll", "define void @step()").read_text(encoding="utf-8").endswith("()\n")
    assert dump.written == [tmp_path / "00-emit.ll"]


def test_later_programs_are_dumped_below_the_first(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    folders = [dump_from_environment(path)[0].directory for path in ("training", "inference", "inference")]
    assert folders == [tmp_path, tmp_path / "2-inference", tmp_path / "3-inference"]
