"""What comes back from an engine for one request, and who the engine says it is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = ["Hello", "Limits", "Reply", "ReplyKind", "answered", "hello_of", "shown"]

ReplyKind = Literal["answer", "crash", "timeout", "protocol-error"]
OUTCOMES: Final = ("ok", "unsupported", "rejected", "error")
LONGEST: Final = 500
"""Characters of an engine's words that go into a report, which holds thousands of results."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine may use; seconds are multiplied by `scale`."""

    seconds: float = 10.0
    hostile_seconds: float = 5.0
    start_seconds: float = 60.0
    scale: float = 1.0
    memory: int = 4 << 30
    file_bytes: int = 256 << 20
    line_bytes: int = 1 << 20
    log_bytes: int = 8 << 20
    """Output without an answer that is read for one case."""

    @property
    def patience(self) -> float:
        """What seconds are multiplied by: `scale`, and more where others use the processors.

        A hang is one on an idle machine; where four processes wait for each processor, an engine
        that works is four times as slow.
        """
        return self.scale * _waiting()


def _waiting() -> float:
    """Processes that wait for a processor, per processor: at least 1, at most 8."""
    load = getattr(os, "getloadavg", lambda: (0.0,))()[0]
    return min(max(load / (os.cpu_count() or 1), 1.0), 8.0)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: `data` is the engine's object; otherwise `detail` says what went wrong."""

    kind: ReplyKind
    data: Mapping[str, Any] = field(default_factory=dict)
    detail: str = ""

    @property
    def outcome(self) -> str:
        """ok, unsupported, rejected or error; empty where there is no answer."""
        return str(self.data.get("outcome", "")) if self.kind == "answer" else ""

    @property
    def code(self) -> str:
        """The error's code that a rejection names."""
        return str(self.data.get("code", ""))


def answered(data: Mapping[str, Any]) -> Reply:
    """An engine's answer as words that can be printed and written."""
    return Reply("answer", {key: shown(data.get(key)) for key in ("outcome", "code", "detail")})


def shown(value: object) -> str:
    """A value of an engine's JSON as a text of bounded length that every encoding can hold.

    Half of a surrogate pair is legal in JSON and in no file; what is no text is not worth printing.
    """
    if value is None:
        return ""
    text = str(value) if isinstance(value, str | int | float) else f"<{type(value).__name__}>"
    text = text[: LONGEST + 1].encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


@dataclass(frozen=True, slots=True)
class Hello:
    """An engine's introduction. One without a loop introduces itself not, and declares nothing."""

    name: str
    version: str = ""
    language: str = ""
    features: tuple[str, ...] = ("*",)
    behaviours: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int = 0
    declared: bool = True

    def has(self, feature: str) -> bool:
        """Whether a feature is declared; `*` at the end of one covers all that follow."""
        return any(
            feature.startswith(one[:-1]) if one.endswith("*") else feature == one
            for one in self.features
        )


def hello_of(data: Mapping[str, Any]) -> Hello | str:
    """The introduction in an engine's answer, or what is wrong with it."""
    engine, features = data.get("engine"), data.get("features")
    if not isinstance(engine, dict) or not isinstance(engine.get("name"), str):
        return "hello was answered without engine.name"
    if not isinstance(features, list) or not all(isinstance(one, str) for one in features):
        return "hello was answered without a list of features"
    behaviours, limits = data.get("behaviours", {}), data.get("limits", {})
    if not isinstance(behaviours, dict) or not isinstance(limits, dict):
        return "behaviours and limits of hello must be objects"
    most = limits.get("max_bytes", 0)
    return Hello(
        shown(engine["name"]),
        shown(engine.get("version")),
        shown(engine.get("language")),
        tuple(map(shown, features)),
        {shown(key): shown(value) for key, value in behaviours.items()},
        most if isinstance(most, int) else 0,
    )
