"""A conversation at a real terminal: keys, history and Ctrl-C, through a pseudo-terminal."""

import importlib.util
import os
import select
import sys
import time
from dataclasses import replace

import pytest

from refquant.formats.chat import ChatTurns
from refquant.formats.rq import write_checkpoint
from tests.runtime_models import random_checkpoint
from tests.runtime_tokenizers import byte_level

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX's"),
    pytest.mark.skipif(
        importlib.util.find_spec("readline") is None, reason="this Python edits no lines"
    ),
]

TURNS = ChatTurns({"user": ("U:", "\n"), "assistant": ("A:", "\n")}, "", "A:")
FIELDS = {"vocabulary": 258, "width": 64, "head_width": 16, "feedforward_width": 96}
UP, LEFT, INTERRUPT, END = b"\x1b[A", b"\x1b[D", b"\x03", b"\x04"
SECONDS = 60


class Terminal:
    """A command that believes it is run by hand."""

    def __init__(self, *command):
        import pty

        self.process, self.screen = pty.fork()
        if self.process == 0:
            os.environ["TERM"] = "xterm"
            os.execv(command[0], [str(part) for part in command])  # noqa: S606  # no shell: ours
        self.seen = b""

    def read(self):
        """What has been written since, or nothing after the end."""
        if not select.select([self.screen], [], [], 0.1)[0]:
            return b""
        try:
            return os.read(self.screen, 1 << 16)
        except OSError:  # Linux's way to say that nobody writes any more
            return b""

    def wait(self, text):
        """Everything up to and with this text; what comes behind it is for the next call."""
        until = time.monotonic() + SECONDS
        while text not in self.seen:
            assert time.monotonic() < until, f"no {text!r} in {self.seen!r}"
            self.seen += self.read()
        found, _, self.seen = self.seen.partition(text)
        return found + text

    def interrupt(self, text):
        """Ctrl-C, once more for each second without this text.

        Python sleeps until the next key over a signal that arrives while readline shows one.
        """
        until = time.monotonic() + SECONDS
        while text not in self.seen:
            assert time.monotonic() < until, f"no {text!r} in {self.seen!r}"
            self.type(INTERRUPT)
            pause = time.monotonic() + 1
            while text not in self.seen and time.monotonic() < pause:
                self.seen += self.read()
        self.wait(text)

    def type(self, keys):
        """Press these keys."""
        os.write(self.screen, keys)

    def status(self):
        """How the command ended."""
        until = time.monotonic() + SECONDS
        while True:
            self.seen += self.read()
            ended, status = os.waitpid(self.process, os.WNOHANG)
            if ended:
                os.close(self.screen)
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < until, f"still running after {self.seen!r}"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("chat") / "chat.rq"
    made = random_checkpoint(tokenizer=byte_level(), context=4000, **FIELDS)
    write_checkpoint(path, replace(made, chat=TURNS))
    return path


def chatting(model, count):
    command = [sys.executable, "-m", "refquant", "run", model, "--chat", "--ignore-eos"]
    return Terminal(*command, "-n", count)


def test_lines_are_edited_and_remembered(model):
    terminal = chatting(model, 2)
    terminal.wait(b"> ")
    terminal.type(b"abd" + LEFT + b"c\n")
    terminal.wait(b"\n> ")
    terminal.type(b'"""\nand\nmore"""\n')
    terminal.wait(b"\n> ")
    terminal.type(b"/stats\n")
    # U:abcd, A: and 2 tokens; then a line end, U:, two lines, a line end, A: and 2 tokens.
    terminal.wait(b"27 of 4000 tokens used")
    terminal.wait(b"\n> ")
    terminal.type(UP * 5)  # three lines of the text, and the command, came after it
    terminal.wait(b"abcd")
    terminal.type(b"\n")
    terminal.wait(b"\n> ")
    terminal.type(END)
    assert terminal.status() == 0


def test_ctrl_c_stops_the_answer_or_the_line_but_not_the_conversation(model):
    terminal = chatting(model, 3000)
    terminal.wait(b"> ")
    terminal.type(b"hello\n")
    terminal.wait(b"hello\r\n")
    while not terminal.seen:
        terminal.seen += terminal.read()
    terminal.type(INTERRUPT)
    terminal.wait(b"(stopped; what was written stays part of the conversation)")
    terminal.wait(b"> ")
    terminal.type(b"half of a li")
    terminal.wait(b"half of a li")
    terminal.interrupt(b"/exit or Ctrl-D ends")
    terminal.wait(b"> ")
    terminal.type(b"/stats\n")
    assert b"nothing has been said" not in terminal.wait(b"tokens used")
    terminal.wait(b"\n> ")
    terminal.type(b"/exit\n")
    assert terminal.status() == 0
