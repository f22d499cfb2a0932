import signal

import pytest

from refquant.signals import name_of_signal


def test_a_signal_has_its_name():
    assert name_of_signal(signal.SIGTERM) == "SIGTERM"


@pytest.mark.parametrize("number", [32, 40, 65])
def test_a_signal_without_a_name_is_its_number(number):
    assert name_of_signal(number) == str(number)
