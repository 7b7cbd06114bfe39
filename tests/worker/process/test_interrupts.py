"""The guard of a command and of a run in the main process: which signals interrupt, which handlers come back."""

import signal
import time

import pytest

from sinagot_catalog.worker import InterruptGuard, interrupts_deferred


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_is_interrupted_by_both_signals(number):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    guard = InterruptGuard(terminates=True)
    with pytest.raises(KeyboardInterrupt), guard:
        signal.raise_signal(number)
    assert guard.has_signal
    with pytest.raises(KeyboardInterrupt):
        guard.check()


def test_a_run_within_a_command_sees_the_signal_that_ends_the_command():
    inner = InterruptGuard()
    with InterruptGuard(terminates=True) as outer, pytest.raises(KeyboardInterrupt), inner:
        signal.raise_signal(signal.SIGTERM)
    assert inner.has_signal
    assert outer.has_signal


def test_a_handler_of_the_program_is_called_and_decides():
    calls = []
    signal.signal(signal.SIGTERM, lambda number, _: calls.append(number))
    with InterruptGuard() as guard:
        signal.raise_signal(signal.SIGTERM)
        guard.check()
    assert calls == [signal.SIGTERM]
    assert not guard.has_signal


def test_sigterm_keeps_its_default_in_a_program_and_an_ignored_sigint_stays_ignored():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with InterruptGuard():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_the_handlers_of_before_come_back():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    before = signal.getsignal(signal.SIGINT)
    with InterruptGuard(terminates=True):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_interrupt_while_polars_calls_python_comes_right_after():
    import polars as pl

    signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = []

    def interrupted(value):
        signal.raise_signal(signal.SIGINT)
        ended.append(value)
        return value

    def compute():
        pl.DataFrame({"a": [1]}).select(pl.col("a").map_elements(interrupted, return_dtype=pl.Int64))
        end = time.monotonic() + 300
        while time.monotonic() < end:
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt), InterruptGuard() as guard:
        compute()
    assert guard.has_signal
    assert ended == [1]


def test_what_must_be_written_whole_is_written_before_an_interrupt_that_follows_another():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    calls = []
    signal.signal(signal.SIGTERM, lambda number, _: calls.append(number))
    written = []

    def interrupted_twice():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            with interrupts_deferred():
                signal.raise_signal(signal.SIGTERM)
                assert not calls
                written.append("report")

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert written == ["report"]
    assert calls == [signal.SIGTERM]
