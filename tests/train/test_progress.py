import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from graphc.errors import GraphcError
from graphc.train.callbacks import Callback, Run
from graphc.train.history import Epoch
from graphc.train.progress import Lines, Live, epoch_text, in_notebook, left_text, progress_on

EPOCH = Epoch(3, {"loss": 0.25, "accuracy": 0.5}, {"loss": 1.5}, 1000, 0.5)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def report(listener):
    program = SimpleNamespace(steps=4, optimizer=None)
    run = Run(None, program, None, epochs=12, batch_size=10, seed=0, samples=1000, epoch=3, first=2)
    listener.start(run)
    run.totals.add({"loss": [0.25], "accuracy": [0.5], "table": np.ones((1, 2, 2))}, np.array([250]))
    run.samples_done = 250
    listener.batch(run, None)
    listener.epoch(run, EPOCH)
    listener.stop(run, "stopped early")


LINE = "epoch  3/12  loss 0.2500  accuracy 0.5000  | val_loss 1.5000  | 0.50 s, 2,000 samples/s"


def test_an_epoch_is_one_line():
    assert epoch_text(EPOCH, 12) == LINE


def test_what_is_no_number_is_not_shown():
    epoch = Epoch(1, {"loss": 1.0, "confusion_matrix": np.eye(2)}, {}, 5, 1.0)
    assert epoch_text(epoch, 1) == "epoch 1/1  loss 1.0000  | 1.00 s, 5 samples/s"


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_speed_is_zero_rather_than_infinite(seconds):
    assert Epoch(1, {}, {}, 5, seconds).samples_per_second == (10 if seconds else 0)


@pytest.mark.parametrize(
    ("share", "seconds", "text"),
    [(0.43, 65.2, " 43 %  1:05 left"), (0.999, 0.3, "100 %  0:00 left"), (0.01, 7325, "  1 %  2:02:05 left")],
)
def test_the_time_left(share, seconds, text):
    assert left_text(share, seconds) == text


def test_a_file_gets_one_line_an_epoch_and_the_reason_of_stopping():
    stream = io.StringIO()
    report(progress_on(stream))
    assert stream.getvalue() == f"{LINE}\nstopped early\n"


def test_a_terminal_gets_a_line_that_moves(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    report(progress_on(stream))
    text = stream.getvalue()
    assert LINE in text
    moving = text.split(LINE)[0]
    assert "epoch  3/12  loss 0.2500  accuracy 0.5000  " in moving
    assert "  2 %" in moving  # 250 of the 10,000 samples of epochs 3 to 12
    assert " left" in moving
    assert "stopped early" in text


@pytest.mark.parametrize(
    ("verbose", "terminal", "kind"),
    [(0, True, Callback), (1, True, Live), (1, False, Lines), (2, True, Lines), (True, False, Lines)],
)
def test_verbose_and_the_stream_decide_the_form(verbose, terminal, kind):
    assert type(progress_on(Terminal() if terminal else io.StringIO(), verbose)) is kind


def test_other_numbers_are_refused():
    with pytest.raises(GraphcError, match="verbose is 3, expected 0"):
        progress_on(io.StringIO(), 3)


def test_a_line_moves_in_a_notebook_that_has_widgets(monkeypatch):
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr("graphc.train.progress.find_spec", lambda name: name == "ipywidgets")
    assert in_notebook()
    assert isinstance(progress_on(io.StringIO()), Live)
    monkeypatch.setattr("graphc.train.progress.find_spec", lambda name: None)
    assert isinstance(progress_on(io.StringIO()), Lines)


def test_verbose_0_says_nothing(capsys):
    report(progress_on(verbose=0))
    assert capsys.readouterr().out == ""
