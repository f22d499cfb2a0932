"""`refquant run --chat`: a conversation at the terminal, or one from a pipe."""

import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from refquant.cli.computing import Computing, loaded
from refquant.cli.failures import one_line
from refquant.cli.mask_options import diffusion_options
from refquant.cli.opening import loading, opened
from refquant.cli.output import format_bytes, printable
from refquant.cli.run_output import write
from refquant.cli.writing import Writing
from refquant.errors import RefquantError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from refquant.formats import Checkpoint
    from refquant.runtime.chat import ChatSession

__all__ = ["Chatting", "chat_with"]

HELP = """\
/help    these lines
/reset   forget the conversation, but not --system
/stats   tokens and speed of the last answer
/exit    end (so does Ctrl-D)
A line that ends in a backslash goes on in the next; \"\"\" begins and ends a text of many lines.
Ctrl-C stops an answer; what was written of it stays part of the conversation."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Chatting:
    """A conversation, as options."""

    chat: Annotated[bool, Parameter(help="Talk: one message a line, /help shows more.")] = False
    system: Annotated[
        str | None,
        Parameter(help="With --chat: what the model is told first.", allow_leading_hyphen=True),
    ] = None
    jinja: Annotated[
        bool,
        Parameter(help="With --chat: run the model's own template, in a sandbox with bounds."),
    ] = False


def chat_with(path: Path | str, computing: Computing, writing: Writing, chatting: Chatting) -> int:
    """Open the model and talk with it."""
    from refquant.runtime import Tokenizer
    from refquant.runtime.chat import ChatSession

    with loading(path), opened(path) as checkpoint:
        spell, system = _spelling(checkpoint, path, chatting)
        tokenizer = Tokenizer(checkpoint.need_tokenizer())
        model = loaded(checkpoint, computing)
        session = ChatSession(
            model,
            tokenizer,
            spell,
            writing.biased(tokenizer),
            system,
            bounded=writing.is_bounded,
            diffusion=diffusion_options(writing.filling, model),
        )
    return _converse(session)


def _spelling(
    checkpoint: "Checkpoint", path: Path | str, chatting: Chatting
) -> tuple["Callable[[Sequence[tuple[str, str]]], str]", str | None]:
    """How this model spells a conversation, and its system message."""
    from refquant.formats.chat_derive import default_system
    from refquant.formats.chat_template import template_of

    template = template_of(checkpoint)
    if chatting.jinja:
        if template is None:
            raise UnsupportedError(f"{path} holds no chat template that --jinja could run")
        return template.text, chatting.system
    turns = checkpoint.chat
    if turns is None and template is None:
        raise UnsupportedError(f"{path} says nothing about conversations; it is no chat model")
    if turns is None:
        raise UnsupportedError(_ways_out(path))
    default = default_system(checkpoint.extensions) if "system" in turns.turns else None
    return turns.text, default if chatting.system is None else chatting.system


def _ways_out(path: Path | str) -> str:
    """What to type where a model's chat is a program that nobody asked to run."""
    from refquant.formats.chat_template import can_render

    source, name = quote(str(path)), Path(path).name
    made = quote(f"{name.removesuffix('.gguf')}.rq")
    told = f"{path} has its chat as a Jinja program only: add --jinja to run that in a sandbox"
    if not can_render():
        return f"{told}; this and `refquant convert` need jinja2: pip install 'refquant[chat]'"
    if name.endswith(".rq"):
        return told
    once, then = f"refquant convert {source} {made}", f"refquant run {made} --chat"
    return f"{told}, or `{once}` takes it apart into strings where it can; then `{then}`"


def _converse(session: "ChatSession") -> int:
    """Read messages and write answers until the input ends; the first error's status, or 0.

    At a terminal an error is told and forgotten.
    """
    at_terminal = sys.stdin.isatty()
    _read_any_bytes()
    if at_terminal:
        _edit_lines()
        print("/help shows what can be typed, Ctrl-D ends", file=sys.stderr)
    status = 0
    while True:
        try:
            message = _read_message(at_terminal=at_terminal)
        except KeyboardInterrupt:
            if not at_terminal:
                raise
            print("\n/exit or Ctrl-D ends", file=sys.stderr)
            continue
        if message is None or message == "/exit":
            return status
        if message.startswith("/") and "\n" not in message:
            _obey(session, message)
        elif message:
            failed = _answer(session, message)
            status = status or (0 if at_terminal else failed)


def _edit_lines() -> None:
    """Arrow keys and history at the prompt, where Python was built with them."""
    import contextlib
    import importlib

    with contextlib.suppress(ImportError):
        importlib.import_module("readline")


def _read_any_bytes() -> None:
    """Bytes that are no UTF-8 become halves of surrogate pairs: a message refused, no end."""
    reconfigure = getattr(sys.stdin, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="surrogateescape")


def _read_message(*, at_terminal: bool) -> str | None:
    line = _read_line("> " if at_terminal else "")
    if line is None:
        return None
    if line.lstrip().startswith('"""'):
        return _read_block(line.lstrip()[3:], at_terminal)
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        following = _read_line(". " if at_terminal else "")
        if following is None:
            break
        lines.append(following)
    return "\n".join(lines).strip()


def _read_block(line: str | None, at_terminal: bool) -> str:
    lines = []
    while line is not None:
        if line.rstrip().endswith('"""'):
            lines.append(line.rstrip()[:-3])
            break
        lines.append(line)
        line = _read_line(". " if at_terminal else "")
    return "\n".join(lines).strip()


def _read_line(prompt: str) -> str | None:
    """The next line of the input without its end, or None after the last."""
    try:
        if prompt:
            return input(prompt)
        line = sys.stdin.readline()
    except EOFError:
        print()
        return None
    return line.rstrip("\r\n") if line else None


def _obey(session: "ChatSession", command: str) -> None:
    if command == "/help":
        print(HELP, file=sys.stderr)
    elif command == "/reset":
        session.reset()
        print("the conversation is forgotten", file=sys.stderr)
    elif command == "/stats":
        print(_stats(session), file=sys.stderr)
    else:
        print(f"refquant: {printable(command)} is no command; /help lists them", file=sys.stderr)


def _stats(session: "ChatSession") -> str:
    timings = session.timings
    if timings is None:
        return "nothing has been said yet"
    return (
        f"{session.tokens} of {session.model.context} tokens used; the last message: "
        f"{timings.prompt_tokens} tokens read in {timings.prefill_seconds:.2f} s, "
        f"{timings.tokens} written at {timings.tokens_per_second:.1f} tokens/s; "
        f"cache {format_bytes(session.cache_bytes)} as {session.model.cache_type}"
    )


def _answer(session: "ChatSession", message: str) -> int:
    """Write the answer as it comes; the status of what went wrong, or 0."""
    try:
        steps = session.say(message)
    except RefquantError as error:
        print(f"refquant: {one_line(str(error))}", file=sys.stderr)
        return error.exit_status
    guarded, finish = sys.stdout.isatty(), ""
    try:
        for step in steps:
            finish = step.finish
            write(step.text, guarded=guarded)
    except KeyboardInterrupt:
        # A generator that was interrupted has closed itself; one that was not does so here.
        getattr(steps, "close", int)()
        finish = "interrupted"
    write("\n", guarded=guarded)
    if finish == "interrupted":
        print("(stopped; what was written stays part of the conversation)", file=sys.stderr)
    elif finish == "length" and session.tokens >= session.model.context:
        print("(the context is full; /reset begins anew)", file=sys.stderr)
    return 0
