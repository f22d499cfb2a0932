"""Write every pack and `suite.json`, or check that the files kept are the ones it would write.

python -m conformance.generators              write what differs
python -m conformance.generators --check      status 1 where a file differs
python -m conformance.generators decode/ggml  only these packs (suite.json is renewed too)
"""

import argparse
import json
import sys
from hashlib import sha256
from pathlib import Path

import msgspec

from conformance.generators import models, safetensors_files
from conformance.generators.every_pack import PACKS, made
from conformance.generators.smoke import kept_kills, kept_matrix, smoke_contents
from refquant.conformance.packs import PackRow, Suite, read_pack

__all__ = ["FOLDER", "contents_of", "main"]

FOLDER = Path(__file__).resolve().parents[1]
VERSION = "1.0"
MOST_BYTES = 512 << 10
TOTAL_BYTES = 8 << 20


def contents_of(name: str) -> dict[Path, bytes]:
    """The two files of a pack."""
    text, binary = made(name, kept_kills(FOLDER)).contents()
    if len(text) + len(binary) > MOST_BYTES:
        raise SystemExit(f"{name} has {len(text) + len(binary)} bytes, more than {MOST_BYTES}")
    path = FOLDER / "packs" / name
    return {path.with_name(path.name + ".json"): text, path.with_name(path.name + ".bin"): binary}


def row_of(name: str) -> PackRow:
    """What `suite.json` says of a pack that is kept."""
    text = (FOLDER / "packs" / f"{name}.json").read_bytes()
    binary = (FOLDER / "packs" / f"{name}.bin").read_bytes()
    count = len(json.loads(text)["cases"])
    return PackRow(name, count, sha256(text).hexdigest(), sha256(binary).hexdigest())


def suite_contents() -> bytes:
    """`suite.json` for the packs that are kept."""
    rows = [row_of(name) for name in sorted(PACKS)]
    smoke = row_of("smoke")
    suite = Suite(VERSION, 1, tuple(rows), smoke)
    return (json.dumps(msgspec.to_builtins(suite), indent=1) + "\n").encode()


def smoke_files() -> dict[Path, bytes]:
    """The smoke pack for the packs and the kill matrix that are kept."""
    packs = [read_pack(FOLDER / "packs" / f"{name}.json") for name in sorted(PACKS)]
    text, binary = smoke_contents(packs, kept_matrix(FOLDER))
    return {FOLDER / "packs" / "smoke.json": text, FOLDER / "packs" / "smoke.bin": binary}


def differing(files: dict[Path, bytes], *, check: bool) -> list[Path]:
    """Which files are not as they should be; they are written unless only checked."""
    different = [p for p, raw in files.items() if not p.is_file() or p.read_bytes() != raw]
    if not check:
        for path in different:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[path])
    return different


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="refquant conformance gen", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("packs", nargs="*", metavar="PACK")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    if unknown := set(options.packs) - set(PACKS):
        parser.error(f"no pack is called {min(unknown)}")
    makers = {**models.FILES, **safetensors_files.FILES}
    files = {FOLDER / path: make() for path, make in makers.items()}
    different = differing(files, check=options.check)  # packs are about these files
    packs = [contents_of(name) for name in options.packs or PACKS]
    # Written together at the end, so that whoever runs the suite meanwhile finds one that fits.
    for files in packs:
        different += differing(files, check=options.check)
    different += stray(check=options.check)
    different += differing(smoke_files(), check=options.check)
    different += differing({FOLDER / "suite.json": suite_contents()}, check=options.check)
    verb = "differs" if options.check else "written"
    for path in different:
        print(f"{verb}: {path.relative_to(FOLDER).as_posix()}")
    return 1 if different and options.check else 0


def stray(*, check: bool) -> list[Path]:
    """Packs that no generator makes any more; they are removed unless only checked."""
    kept = {
        path.with_suffix("").relative_to(FOLDER / "packs").as_posix()
        for path in (FOLDER / "packs").rglob("*.json")
    }
    found = [FOLDER / "packs" / f"{name}.json" for name in sorted(kept - set(PACKS) - {"smoke"})]
    if not check:
        for path in found:
            path.unlink()
            path.with_suffix(".bin").unlink()
    return found


if __name__ == "__main__":
    sys.exit(main())
