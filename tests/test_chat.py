"""Conversations: what is kept, what is computed again, and what the terminal sees."""

import sys
from dataclasses import replace

import pytest

from refquant.cli.chat import _read_message
from refquant.errors import LimitError, UsageError
from refquant.formats.chat import ChatTurns
from refquant.formats.rq import write_checkpoint
from refquant.runtime import GenerateOptions, Tokenizer, generate, load_model
from refquant.runtime.chat import ChatSession
from refquant.runtime.speculate import Guesses
from tests.command_line import call
from tests.runtime_models import random_checkpoint
from tests.runtime_tokenizers import byte_level
from tests.test_cli_run import give_stdin

TURNS = ChatTurns(
    {"user": ("U:", "\n"), "assistant": ("A:", "\n"), "system": ("S:", "\n")}, "", "A:"
)
FIELDS = {"vocabulary": 258, "width": 64, "head_width": 16, "feedforward_width": 96}
OPTIONS = GenerateOptions(max_tokens=6, ignore_eos=True)


def checkpoint(**changes):
    made = random_checkpoint(tokenizer=byte_level(), **(FIELDS | changes))
    return replace(made, chat=TURNS)


@pytest.fixture(scope="module")
def model():
    return load_model(checkpoint(context=96))


@pytest.fixture
def session(model):
    return ChatSession(model, Tokenizer(byte_level()), TURNS.text, OPTIONS, system="be")


def said(session, text):
    return "".join(step.text for step in session.say(text))


def test_every_answer_is_what_a_fresh_model_writes(model, session):
    tokenizer = Tokenizer(byte_level())
    for text in ("one", "two", "three"):
        before = [*session.messages, ("user", text)]
        ids = tokenizer.encode(TURNS.text(before))
        fresh = generate(model, ids, OPTIONS, tokenizer=tokenizer)
        assert said(session, text) == "".join(step.text for step in fresh)
    assert [role for role, _ in session.messages] == ["system", *["user", "assistant"] * 3]


def test_only_what_is_new_is_computed(session):
    list(session.say("one"))
    first = session.timings.prompt_tokens
    list(session.say("two"))
    assert first == len("S:be\nU:one\nA:")
    assert session.timings.prompt_tokens < len("S:be\nU:one\nA:xxxxxx\nU:two\nA:")


def test_an_interrupted_answer_stays(session):
    steps = session.say("one")
    texts = [next(steps).text for _ in range(3)]
    steps.close()
    assert session.messages[-1] == ("assistant", "".join(texts))
    list(session.say("two"))
    session.reset()
    assert session.messages == [("system", "be")]


def test_right_guesses_that_nobody_has_heard_are_forgotten(monkeypatch):
    model = load_model(checkpoint(context=96), arithmetic_mode="exact")
    tokenizer = Tokenizer(byte_level())
    begun = tokenizer.encode(TURNS.text([("user", "one")]))
    told = [step.token for step in generate(model, begun, OPTIONS)]
    monkeypatch.setattr(Guesses, "next", lambda self, _most: told[len(self._text) - len(begun) :])
    session = ChatSession(model, tokenizer, TURNS.text, replace(OPTIONS, speculate=True))
    steps = session.say("one")
    assert [next(steps).token for _ in range(2)] == told[:2]
    steps.close()
    ids = [*begun, *told[:2], *tokenizer.encode("\nU:two\nA:")]
    cache = session._begun(ids)
    found = model.next_logits(ids[cache.length :], cache)
    assert found.tobytes() == model.next_logits(ids, model.new_cache(len(ids))).tobytes()


def test_a_full_context_is_told_and_the_session_goes_on(session):
    with pytest.raises(LimitError, match="context is 96; /reset begins anew"):
        session.say("x" * 96)
    assert session.messages == [("system", "be")]
    assert len(list(session.say("one"))) == 6


def test_a_system_message_needs_a_turn(model):
    silent = ChatTurns({"user": ("U:", "\n"), "assistant": ("A:", "\n")}, "", "A:")
    with pytest.raises(UsageError, match="no turn for 'system'"):
        ChatSession(model, Tokenizer(byte_level()), silent.text, OPTIONS, system="be")


def test_a_cache_must_be_a_beginning(model):
    cache = model.new_cache(8)
    cache.advance(2)
    with pytest.raises(UsageError, match="no beginning"):
        generate(model, [1, 2], OPTIONS, cache=cache)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("chat") / "chat.rq"
    write_checkpoint(path, checkpoint(context=96))
    return path


def talk(capsys, monkeypatch, path, text, *options):
    give_stdin(monkeypatch, text.encode())
    return call(capsys, "run", path, "--chat", "-n", 4, "--ignore-eos", *options)


def test_a_pipe_can_talk(capsys, monkeypatch, path):
    plain = talk(capsys, monkeypatch, path, "a\nb\n")
    assert (plain.status, plain.err) == (0, "")
    lines = talk(capsys, monkeypatch, path, "/help\na\n/stats\n/reset\na\n/what\n/exit\nb\n")
    assert lines.status == 0
    assert "/reset" in lines.err
    assert "of 96 tokens used" in lines.err
    assert "B as float32" in lines.err
    assert "/what is no command" in lines.err
    half = lines.out[: len(lines.out) // 2]
    assert half + half == lines.out
    assert plain.out.startswith(half)


def test_a_conversation_may_keep_its_positions_in_bytes(capsys, monkeypatch, path):
    lines = talk(capsys, monkeypatch, path, "a\nb\n/stats\n", "--cache-type", "int8")
    assert lines.status == 0
    assert "B as int8" in lines.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\\\nb\n", "a\nb"),
        ('"""a\nb"""\n', "a\nb"),
        ('"""\na\n\nb\n"""\n', "a\n\nb"),
        ('"""/exit"""\n', "/exit"),
        (" a \r\n", "a"),
        ("a\\", "a"),
        ("", None),
    ],
)
def test_messages_of_many_lines(monkeypatch, text, message):
    give_stdin(monkeypatch, text.encode())
    assert _read_message(at_terminal=False) == message


def test_what_goes_wrong_has_a_status_and_the_rest_is_answered(capsys, monkeypatch, path):
    found = talk(capsys, monkeypatch, path, "x" * 99 + "\na\n")
    assert found.status == 6
    assert "/reset begins anew" in found.err
    assert found.out == talk(capsys, monkeypatch, path, "a\n").out


@pytest.mark.parametrize("handling", ["strict", "surrogateescape"])
def test_bytes_that_are_no_text_are_refused_and_the_rest_is_answered(
    capsys, monkeypatch, path, handling
):
    give_stdin(monkeypatch, b"\xff\na\n")
    sys.stdin.reconfigure(errors=handling)
    found = call(capsys, "run", path, "--chat", "-n", 4, "--ignore-eos")
    assert (found.status, found.err.count("\n")) == (2, 1)
    assert "not Unicode: its character" in found.err
    assert found.out == talk(capsys, monkeypatch, path, "a\n").out


def test_ctrl_c_stops_the_answer_only(capsys, monkeypatch, path):
    class Interrupted(ChatSession):
        def say(self, text):
            steps = super().say(text)
            yield next(steps)
            if text == "a":
                steps.close()
                raise KeyboardInterrupt
            yield from steps

    monkeypatch.setattr("refquant.runtime.chat.ChatSession", Interrupted)
    found = talk(capsys, monkeypatch, path, "a\nb\n")
    assert found.status == 0
    assert "stopped" in found.err


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--chat", "-p", "a"], 2, "--prompt does not go with --chat"),
        (["--chat", "--json"], 2, "--json does not go with --chat"),
        (["--system", "a", "-p", "a"], 2, "go with --chat"),
        (["--chat", "--jinja"], 4, "holds no chat template"),
    ],
)
def test_options_that_do_not_go_together(capsys, path, options, status, message):
    found = call(capsys, "run", path, *options)
    assert found.status == status
    assert message in found.err


def test_a_model_without_a_chat_says_so(capsys, tmp_path):
    write_checkpoint(tmp_path / "a.rq", replace(checkpoint(), chat=None))
    found = call(capsys, "run", tmp_path / "a.rq", "--chat")
    assert found.status == 4
    assert "says nothing about conversations" in found.err
