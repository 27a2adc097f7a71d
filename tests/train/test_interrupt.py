import signal
import threading

import pytest

from graphc.train.interrupt import Interruptible


@pytest.fixture(autouse=True)
def default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press():
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def run(*actions):
    """Does the actions within an Interruptible; returns how many were done, and the error."""
    done, error = 0, None
    try:
        with Interruptible() as here:
            for action in actions:
                action(here)
                done += 1
    except BaseException as caught:
        error = type(caught)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return done, error


def press_there(_):
    press()


def test_ctrl_c_waits_for_the_next_point():
    assert run(Interruptible.point, press_there, Interruptible.point, Interruptible.point) == (
        2,
        KeyboardInterrupt,
    )


def test_a_second_ctrl_c_does_not_wait():
    assert run(press_there, press_there, press_there) == (1, KeyboardInterrupt)


def test_ctrl_c_after_the_last_point_is_not_lost():
    assert run(Interruptible.point, press_there) == (2, KeyboardInterrupt)


def test_without_ctrl_c_nothing_happens():
    assert run(Interruptible.point, Interruptible.point) == (2, None)


def test_an_error_is_not_replaced():
    assert run(press_there, lambda _: 1 / 0) == (1, ZeroDivisionError)


def test_a_handler_of_the_users_own_stays():
    heard = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with Interruptible() as here:
        press()
        here.point()
    assert heard == [signal.SIGINT]


def test_another_thread_leaves_signals_alone():
    inside = []

    def work():
        with Interruptible():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [signal.default_int_handler]
