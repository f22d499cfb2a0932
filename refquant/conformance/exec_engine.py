"""An engine without a loop: a command that is run once for each case, told by a small text file."""

import shlex
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from refquant.conformance.child import Child
from refquant.conformance.replies import Hello, Limits, Reply, answered, shown
from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.conformance.exchange import Request

__all__ = ["ExecEngine", "case_text"]

STATUSES: Final = {0: "ok", 3: "rejected", 4: "unsupported"}


class ExecEngine:
    """Runs `CMD {dir}` for each case; what it supports is known from its answers alone."""

    def __init__(self, command: str, limits: Limits, features: tuple[str, ...] = ()) -> None:
        if "{dir}" not in command:
            raise UsageError("the command of --engine-exec must hold {dir}, the folder of a case")
        try:
            shlex.split(command)
        except ValueError as error:
            raise UsageError(f"the command of --engine-exec: {error} in {command!r}") from error
        self.command = command
        self.option = f"--engine-exec {shlex.quote(command)}"
        self.limits = limits
        self.starts = 0
        self.features = features

    def begin(self) -> None:
        """Nothing: there is no process between cases."""

    def start(self) -> Hello:
        """Nothing is started: a name, and the features given on the command line."""
        name = Path(shlex.split(self.command)[0]).name
        return Hello(name, features=self.features or ("*",), declared=bool(self.features))

    def run(self, request: "Request", meanwhile: Callable[[], None]) -> Reply:
        """Write `case.txt` to a folder of its own and run the command."""
        self.starts += 1
        with tempfile.TemporaryDirectory(
            prefix="case-", dir=request.folder, ignore_cleanup_errors=True
        ) as folder:
            return self._run_in(Path(folder), request, meanwhile)

    def close(self) -> None:
        """Nothing: every case has ended its process."""

    def _run_in(self, folder: Path, request: "Request", meanwhile: Callable[[], None]) -> Reply:
        for one in request.inputs:
            whole = Path(one["path"]).read_bytes()
            (folder / _file_of(one["name"])).write_bytes(whole[one["off"] :][: one["len"]])
        (folder / "case.txt").write_text(case_text(request), "utf-8")
        child = Child(self.command.replace("{dir}", shlex.quote(str(folder))), self.limits)
        try:
            meanwhile()
            return self._watch(child, request.seconds)
        finally:
            child.kill()

    def _watch(self, child: Child, seconds: float) -> Reply:
        deadline, said, read = time.monotonic() + seconds, b"", 0
        while lines := child.lines(deadline):
            said = said or lines.strip().partition(b"\n")[0]
            read += len(lines)
            if read > self.limits.log_bytes:
                return Reply("protocol-error", detail="output without end")
        if child.too_long:
            return Reply("protocol-error", detail="a line of more than 1 MiB")
        how = child.ended(max(deadline - time.monotonic(), 0.05))
        if not how:
            return Reply("timeout", detail=f"it has not ended within {seconds:.3g} s")
        status = int(how.rsplit(" ", 1)[1]) if "status" in how else -1
        if status not in STATUSES:
            why = "; ".join(filter(None, [how, child.last_words()]))
            return Reply("crash", detail=shown(why))
        code = (said or child.unfinished).decode("utf-8", "replace").strip()
        return answered({"outcome": STATUSES[status], "code": code})


def case_text(request: "Request") -> str:
    """The lines of `case.txt`."""
    lines = [f"op {request.op}"]
    for name, value in request.params.items():
        shown = "x".join(map(str, value)) if isinstance(value, list) else value
        lines.append(f"param {name} {shown}")
    lines += [f"in {_array_text(one)} {_file_of(one['name'])}" for one in request.inputs]
    lines += [f"out {_array_text(one)} {one['path']}" for one in request.outputs]
    return "\n".join([*lines, ""])


def _array_text(array: Mapping[str, Any]) -> str:
    shape = "x".join(map(str, array["shape"])) or "1"
    return f"{array['name']} {array['dtype']} {shape}"


def _file_of(name: str) -> str:
    return f"in_{name}.bin"
