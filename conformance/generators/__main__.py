"""Write every pack and `suite.json`, or check that the files kept are the ones it would write.

python -m conformance.generators              write what differs
python -m conformance.generators --check      status 1 where a file differs
python -m conformance.generators decode/ggml  make only these packs anew, and keep the others' cases
"""

import argparse
import json
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath

import msgspec

from conformance.generators import models, safetensors_files
from conformance.generators.bins import files_of
from conformance.generators.command import status_of
from conformance.generators.every_pack import PACKS, made
from conformance.generators.idle import unexcused
from conformance.generators.smoke import kept_matrix, smoke_pack
from refquant.conformance.packs import SHARED, Pack, PackRow, Suite, read_pack

__all__ = ["FOLDER", "contents_with", "main"]

FOLDER = Path(__file__).resolve().parents[1]
VERSION = "1.0"
MOST_BYTES = 512 << 10


def contents_with(names: Sequence[str]) -> dict[Path, bytes]:
    """All files of packs, with these packs made anew and the others' cases as they are kept."""
    packs = [made(name) if name in names else kept(name) for name in sorted(PACKS)]
    if wrong := unexcused(packs):
        raise SystemExit("engines that compute nothing: " + "; ".join(wrong))
    packs.append(smoke_pack(packs, kept_matrix(FOLDER)))
    files = {FOLDER / "packs" / path: raw for path, raw in files_of(packs).items()}
    for pack in packs:
        size = sum(len(files[path]) for path in paths_of(pack.pack))
        if size > MOST_BYTES:
            raise SystemExit(f"{pack.pack} has {size} bytes, more than {MOST_BYTES}")
    files[FOLDER / "suite.json"] = suite_contents(packs, files)
    return files


def kept(name: str) -> Pack:
    """A pack as it is kept."""
    return read_pack(paths_of(name)[0])


def paths_of(name: str) -> tuple[Path, Path]:
    """The two files of a pack."""
    path = FOLDER / "packs" / PurePosixPath(name)
    return path.with_name(path.name + ".json"), path.with_name(path.name + ".bin")


def suite_contents(packs: Sequence[Pack], files: dict[Path, bytes]) -> bytes:
    """`suite.json` for these packs, a pack a line; the last of them is smoke."""

    def row(pack: Pack) -> PackRow:
        digests = (sha256(files[path]).hexdigest() for path in paths_of(pack.pack))
        return PackRow(pack.pack, len(pack.cases), *digests)

    *rows, smoke = map(row, packs)
    shared = sha256(files[FOLDER / "packs" / SHARED]).hexdigest()
    whole = msgspec.to_builtins(Suite(VERSION, 1, tuple(rows), smoke, shared))
    lines = ",\n".join(json.dumps(one) for one in whole.pop("packs"))
    return f'{json.dumps(whole)[:-1]}, "packs": [\n{lines}\n]}}\n'.encode()


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
    # Written together at the end, so that whoever runs the suite meanwhile finds one that fits.
    files = contents_with(options.packs or tuple(PACKS))
    different += differing(files, check=options.check)
    different += stray(set(files), check=options.check)
    verb = "differs" if options.check else "written"
    for path in different:
        print(f"{verb}: {path.relative_to(FOLDER).as_posix()}")
    return 1 if different and options.check else 0


def stray(known: set[Path], *, check: bool) -> list[Path]:
    """Files that no generator makes any more; they are removed unless only checked."""
    found = sorted({path for path in (FOLDER / "packs").rglob("*") if path.is_file()} - known)
    if not check:
        for path in found:
            path.unlink()
    return found


if __name__ == "__main__":
    sys.exit(status_of(main))
