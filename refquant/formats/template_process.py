"""The process that runs a chat template: conversations in on stdin, texts out on stdout, as JSON.

A template is a program by somebody else. It runs in jinja2's immutable sandbox, in a process of its
own with bounds on processor time and memory, and its text is cut off at a stated length. The
process is started by path and imports nothing of refquant.
"""

import json
import sys
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


def _rendered(template: Any, request: dict[str, Any], one: dict[str, Any]) -> dict[str, str]:
    """The text of one conversation, or why there is none."""
    pieces, size = [], 0
    try:
        for piece in template.generate(
            messages=one["messages"],
            add_generation_prompt=one["prompt"],
            bos_token=request["bos"],
            eos_token=request["eos"],
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
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415  (not before bounds)

    _bound(int(request["seconds"]))
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
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
