"""Names of signals, for sentences that say how a process ended."""

import signal

__all__ = ["name_of_signal"]


def name_of_signal(number: int) -> str:
    """The name of a signal, such as `SIGKILL`; the number itself where there is no name.

    Python has no names for the real-time signals between the first and the last, nor for the two
    that the C library keeps for itself, and any of them can end a process.
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
