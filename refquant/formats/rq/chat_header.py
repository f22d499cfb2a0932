"""`core.chat` of a header: how a conversation is spelled, as data."""

from refquant import mp1
from refquant.errors import FormatError
from refquant.formats.chat import ROLES, ChatTurns
from refquant.formats.rq import schema
from refquant.formats.rq.limits import MAX_CHAT_BYTES

__all__ = ["describe_chat", "parse_chat"]


def parse_chat(value: object) -> ChatTurns:
    """The chat that a header states, with every string in its bounds."""
    where = "$.core.chat"
    found = schema.entries(value, where, frozenset({"prompt", "start", "turns"}), frozenset())
    prompt = _text(found["prompt"], f"{where}.prompt")
    start = _text(found["start"], f"{where}.start")
    required = frozenset({"assistant", "user"})
    listed = schema.entries(found["turns"], f"{where}.turns", required, frozenset(ROLES))
    turns = {role: _pair(listed[role], f"{where}.turns.{role}") for role in listed}
    return ChatTurns(turns, start, prompt)


def _pair(value: object, where: str) -> tuple[str, str]:
    texts = schema.items(value, where, mp1.MAX_VALUES)
    if len(texts) != 2:
        message = f"{len(texts)} strings, expected what stands before and after"
        raise FormatError("E_SCHEMA_TYPE", message, where=where)
    return _text(texts[0], f"{where}[0]"), _text(texts[1], f"{where}[1]")


def _text(value: object, where: str) -> str:
    found = schema.text(value, where)
    size = len(found.encode("utf-8"))
    if size > MAX_CHAT_BYTES:
        message = f"a string of {size} bytes, at most {MAX_CHAT_BYTES} may be"
        raise FormatError("E_LIMIT", message, where=where)
    return found


def describe_chat(chat: ChatTurns) -> dict[str, object]:
    """A chat as plain data for the header."""
    turns = {role: list(pair) for role, pair in chat.turns.items()}
    return {"prompt": chat.prompt, "start": chat.start, "turns": turns}
