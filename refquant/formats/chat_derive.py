"""Finding the strings of a chat in what its template writes, and checking them.

The template is shown conversations of words that it cannot know. What it writes around them is
taken apart into strings (`ChatTurns`), and these must then spell other conversations exactly as the
template does. A template for which that fails stays a document and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from refquant.errors import RefquantError
from refquant.formats.chat import ChatTurns
from refquant.formats.chat_template import ChatTemplate, Message, can_render, template_of
from refquant.formats.checkpoint import Checkpoint

__all__ = ["CHAT_EXTENSION", "Derived", "default_system", "derive_chat", "with_chat"]

CHAT_EXTENSION: Final = "x-refquant.chat"
"""Its `data` holds `system`: what the system says where the user has it say nothing."""

S, U, A, V = "Zqsystemqz", "Zquserqz", "Zqanswerqz", "Zqotherqz"

_PROBES: Final[Sequence[tuple[Sequence[Message], bool]]] = (
    ([("user", U)], True),
    ([("user", U)], False),
    ([("user", U), ("assistant", A), ("user", V)], True),
    ([("user", U), ("assistant", A)], False),
    ([("system", S), ("user", U)], True),
)

_ROUNDS: Final[Sequence[Message]] = (
    ("user", "What is 6 \u00d7 7?\n\nShow {{ your }} {% steps %} & <b>work</b>."),
    ("assistant", "42, because:\n1. six\n2. sevens"),
    ("user", "\u00bfY en espa\u00f1ol? \U0001f642"),
    ("assistant", "Cuarenta y dos."),
    ("user", "x"),
)


class Derived(NamedTuple):
    """The strings, or why there are none; `system` is what stands for an absent system message."""

    turns: ChatTurns | None
    system: str | None
    reason: str


def derive_chat(template: ChatTemplate) -> Derived:
    """The strings that say what the template says, checked against it on several conversations."""
    template = replace(template, clock=False)
    try:
        found = template.texts(_PROBES)
        derived = _taken_apart([one.get("text") for one in found], template.bos)
        if derived is None:
            error = found[0].get("error") or found[2].get("error")
            return Derived(None, None, error or "its text is not made of strings around messages")
        differing = _differing(template, derived)
    except RefquantError as error:
        return Derived(None, None, str(error))
    return Derived(None, None, differing) if differing else derived


def _taken_apart(texts: Sequence[str | None], bos: str) -> Derived | None:
    one, one_ended, two, two_ended, spoken = texts
    outer, inner = _around(one, (U,)), _around(two, (U, A, V))
    if outer is None or inner is None or outer[0] != inner[0]:
        return None
    opening, rest = outer
    user_after = _end(_around(one_ended, (U,)), (rest, inner[1]))
    answer_after = _end(_around(two_ended, (U, A)), (inner[2],))
    user_before = inner[2][len(answer_after) :]
    if not opening.endswith(user_before):
        user_before = _shared(opening[::-1], inner[2][::-1])[::-1]
        # The beginning of a text is no part of a turn, even where an end of text looks like it.
        user_before = min(user_before, opening.removeprefix(bos), key=len)
        answer_after = inner[2].removesuffix(user_before)
    turns = {
        "assistant": (inner[1][len(user_after) :], answer_after),
        "user": (user_before, user_after),
    }
    start = opening.removesuffix(user_before)
    chat = ChatTurns(turns, start, rest[len(user_after) :])
    return _with_system(chat, _around(spoken, (S, U)), bos)


def _with_system(chat: ChatTurns, parts: Sequence[str] | None, bos: str) -> Derived:
    """The same with a turn for the system, where it has one of its own."""
    user_before, silent = chat.turns["user"][0], Derived(chat, None, "")
    if parts is None or not parts[1].endswith(user_before):
        return silent
    before, after = parts[0], parts[1].removesuffix(user_before)
    # Where turns begin with that token too, it belongs to them.
    starts = before.startswith(bos) and not user_before.startswith(bos)
    start = bos if starts else ""
    system: str | None = None
    if chat.start != start:
        # Without a system message the template puts one of its own there.
        if not (chat.start.startswith(before) and chat.start.endswith(after)):
            return silent
        system = chat.start[len(before) : len(chat.start) - len(after)]
    elif not before.removeprefix(start) and not after:
        return silent
    turns = {**chat.turns, "system": (before.removeprefix(start), after)}
    return Derived(replace(chat, turns=turns, start=start), system, "")


def _around(text: str | None, words: Sequence[str]) -> list[str] | None:
    """What stands before, between and after the words, each of which must stand there once."""
    if text is None or any(text.count(word) != 1 for word in words):
        return None
    parts = []
    for word in words:
        before, found, text = text.partition(word)
        if not found:
            return None
        parts.append(before)
    return [*parts, text]


def _end(parts: Sequence[str] | None, beginnings: Sequence[str]) -> str:
    """What ends a turn: the last part, if all others begin with it; else what they share."""
    if parts is not None and all(one.startswith(parts[-1]) for one in beginnings):
        return parts[-1]
    return _shared(*beginnings) if len(beginnings) > 1 else ""


def _shared(one: str, other: str) -> str:
    """The longest beginning of both."""
    pairs = enumerate(zip(one, other, strict=False))
    differs = (place for place, (left, right) in pairs if left != right)
    return one[: next(differs, min(len(one), len(other)))]


def _differing(template: ChatTemplate, derived: Derived) -> str:
    """What the strings spell otherwise than the template does; empty if nothing."""
    turns = derived.turns
    if turns is None:
        return ""
    conversations = [list(_ROUNDS[:count]) for count in (1, 3, 5)]
    if "system" in turns.turns:
        told = [("system", "Answer briefly.\nIn \u00df and \u65e5\u672c\u8a9e.")]
        conversations += [[*told, *one] for one in conversations]
    texts = template.texts([(one, True) for one in conversations])
    for messages, found in zip(conversations, texts, strict=True):
        silent = derived.system is not None and messages[0][0] != "system"
        shown = [("system", derived.system or ""), *messages] if silent else messages
        if found.get("text") != turns.text(shown):
            return f"strings do not spell its conversation of {len(messages)} messages"
    return ""


def with_chat(checkpoint: Checkpoint) -> tuple[Checkpoint, str]:
    """The checkpoint with the strings of its chat, and why it got none; empty if nothing to say.

    A checkpoint that has strings already keeps them.
    """
    if checkpoint.chat is not None:
        return checkpoint, ""
    template = template_of(checkpoint)
    if template is None:
        return checkpoint, ""
    if not can_render():
        reason = "jinja2 is missing: pip install 'refquant[chat]'"
        return checkpoint, f"its chat template is kept as a text only: {reason}"
    turns, system, reason = derive_chat(template)
    if turns is None:
        return checkpoint, f"its chat template is kept as a text only: {reason}"
    extensions = dict(checkpoint.extensions)
    if system is not None:
        extensions[CHAT_EXTENSION] = {"critical": False, "data": {"system": system}}
    return replace(checkpoint, chat=turns, extensions=extensions), ""


def default_system(extensions: Mapping[str, object]) -> str | None:
    """What the system says by default, if the file says so."""
    entry = extensions.get(CHAT_EXTENSION)
    data = entry.get("data") if isinstance(entry, Mapping) else None
    system = data.get("system") if isinstance(data, Mapping) else None
    return system if isinstance(system, str) else None
