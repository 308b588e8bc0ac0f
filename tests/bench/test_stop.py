import os
import signal
import threading

import pytest

from bench.stop import SIGNALS, listening


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_a_wish_and_a_second_ctrl_c_an_order(number):
    with listening() as stop:
        assert stop.wish == ""
        os.kill(os.getpid(), number)
        assert stop.wish == number.name
        with pytest.raises(KeyboardInterrupt, match=f"after {number.name}"):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_cluster_and_a_suite_that_ask_again_do_not_break_off_what_is_being_saved(number):
    with listening() as stop:
        for asked in (number, signal.SIGTERM, signal.SIGUSR2):
            os.kill(os.getpid(), asked)
            assert stop.wish == number.name


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with listening():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_in_a_thread_nothing_is_heard_and_nothing_breaks():
    heard = []

    def work():
        with listening() as stop:
            heard.append(stop.wish)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [""]
