"""The process that runs a chat template: conversations in on stdin, texts out on stdout, as JSON.

A template is a program by somebody else, written for what transformers gives templates, and finds
the same here: `tojson`, `strftime_now`, `{% generation %}`, no tools and no documents. It runs in
jinja2's immutable sandbox, in a process of its own with bounds on processor time and memory, and
its text is cut off at a stated length. The process is started by path and imports nothing of
refquant.
"""

import json
import sys
from datetime import datetime
from typing import Any

__all__ = ["main"]

MEMORY = 1 << 30
"""Bytes of address space that the process may take."""


def _bound(seconds: int) -> None:
    """Let the operating system end the process if it takes more than its share."""
    try:
        import resource  # noqa: PLC0415  (POSIX alone has it; elsewhere the parent's clock does)
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _refuse(message: str) -> None:
    """What templates call to reject a conversation."""
    raise ValueError(str(message))


def _json(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002  (templates give it by position too)
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """A value as JSON; jinja2's own filter would spell `<` and the like for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _now(spelling: str) -> str:
    """The local time, as the template wants it spelled."""
    return datetime.now().strftime(spelling)  # noqa: DTZ005  (the user's own clock)


def _environment(*, clock: bool) -> Any:
    """The sandbox, with what templates expect to find."""
    from jinja2 import nodes  # noqa: PLC0415
    from jinja2.ext import Extension  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Generation(Extension):
        """`{% generation %}` marks what the model has said, for training, and writes it."""

        tags = {"generation"}  # noqa: RUF012  (jinja2 reads it so)

        def parse(self, parser: Any) -> Any:
            """Write what stands inside, with names of its own."""
            line = next(parser.stream).lineno
            inside = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("_unchanged")
            return nodes.CallBlock(call, [], [], inside).set_lineno(line)

        def _unchanged(self, caller: Any) -> Any:
            return caller()

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _refuse
    if clock:
        environment.globals["strftime_now"] = _now
    return environment


def _rendered(template: Any, request: dict[str, Any], one: dict[str, Any]) -> dict[str, str]:
    """The text of one conversation, or why there is none."""
    pieces, size = [], 0
    # A special token that a model lacks is not defined.
    special = {"bos_token": request["bos"], "eos_token": request["eos"]}
    try:
        for piece in template.generate(
            messages=one["messages"],
            tools=None,
            documents=None,
            add_generation_prompt=one["prompt"],
            **{name: text for name, text in special.items() if text},
        ):
            size += len(piece)
            if size > request["limit"]:
                return {"error": f"its text is longer than {request['limit']} characters"}
            pieces.append(piece)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  (whatever a foreign program raises is its answer)
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    return {"text": "".join(pieces)}


def main() -> None:
    """Answer the one request on stdin."""
    request = json.load(sys.stdin)
    environment = _environment(clock=request["clock"])
    _bound(int(request["seconds"]))
    try:
        template = environment.from_string(request["template"])
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  (the compiler meets a text by somebody else)
        answer = [{"error": f"{type(error).__name__}: {error}"[:300]}] * len(request["wanted"])
    else:
        answer = [_rendered(template, request, one) for one in request["wanted"]]
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
