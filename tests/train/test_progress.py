import io

import pytest

from graphc.train.progress import Epoch, Lines, Live, Progress, epoch_text, progress_on

EPOCH = Epoch(3, {"loss": 0.25, "accuracy": 0.5}, {"loss": 1.5}, 1000, 0.5)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def report(listener):
    listener.start(12, 1000)
    listener.batch(1000, EPOCH.training)
    listener.epoch(EPOCH)
    listener.stop("stopped early")


LINE = "epoch  3/12  loss 0.2500  accuracy 0.5000  | held out: loss 1.5000  | 0.50 s, 2,000 samples/s"


def test_an_epoch_is_one_line():
    assert epoch_text(EPOCH, 12) == LINE


def test_without_validation_nothing_is_said_about_it():
    assert "held out" not in epoch_text(Epoch(1, {"loss": 1.0}, {}, 5, 1.0), 1)


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_speed_is_zero_rather_than_infinite(seconds):
    assert Epoch(1, {}, {}, 5, seconds).samples_per_second == (10 if seconds else 0)


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
    assert "loss 0.2500  accuracy 0.5000" in text.split(LINE)[0]
    assert "8 %" in text
    assert "stopped early" in text


def test_the_stream_decides_the_form():
    assert isinstance(progress_on(Terminal()), Live)
    assert isinstance(progress_on(io.StringIO()), Lines)


def test_the_base_says_nothing(capsys):
    report(Progress())
    assert capsys.readouterr().out == ""
