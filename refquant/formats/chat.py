"""How a conversation becomes the text that a model continues: strings around each message.

It says as data what a chat template says as a program, so nothing has to be run to use it. A
template that strings cannot say travels as a document only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from refquant.errors import UsageError

__all__ = ["ROLES", "ChatTurns"]

ROLES = ("assistant", "system", "user")
"""Who may speak. A model without system messages has no turn for them."""


@dataclass(frozen=True, slots=True)
class ChatTurns:
    """The strings of a model's chat.

    `turns` maps a role to what stands before and after each of its messages; `start` stands once
    at the beginning and `prompt` at the end, where the model's answer is to begin.
    """

    turns: Mapping[str, tuple[str, str]]
    start: str = ""
    prompt: str = ""

    def __post_init__(self) -> None:
        roles = set(self.turns)
        if not {"assistant", "user"} <= roles <= set(ROLES):
            raise UsageError(
                f"the turns of a chat are {sorted(roles)}, expected user, assistant and perhaps "
                "system"
            )

    def text(self, messages: Sequence[tuple[str, str]]) -> str:
        """The text of a conversation of (role, content), up to where the model answers."""
        parts = [self.start]
        for role, content in messages:
            if role not in self.turns:
                raise UsageError(f"this model has no turn for {role!r}, only {sorted(self.turns)}")
            before, after = self.turns[role]
            parts += [before, content, after]
        return "".join([*parts, self.prompt])
