"""Sets of files: roots with shards that every reader must accept, and sets with one defect each.

    python -m conformance.container.shard_files            write conformance/files/sharded
    python -m conformance.container.shard_files --check    status 1 where a file differs

A set is a folder: `model.rq` is the root, what lies beside it are its shards. `manifest.json` says
what a reader must find in a valid set, and with which code it must refuse another one.
"""

import argparse
import json
import sys
from hashlib import sha256
from pathlib import Path

from conformance.container import shard_opening_defects
from conformance.container.generate import decoded_digest, segments_of
from conformance.container.shard_defects import REJECT, TOO_LARGE_TO_KEEP
from conformance.container.shard_sets import ROOT, VALID, files_of
from conformance.oracle import layout as oracle
from refquant import mp1

__all__ = ["CORPUS", "ROOT", "corpus", "on_demand"]

if shard_opening_defects.REJECT is not REJECT:
    raise ImportError("the defects are registered in more than one table")

CORPUS = Path(__file__).resolve().parents[1] / "files" / "sharded"


def on_demand():
    """The sets that are not kept: name -> (code, files)."""
    return {name: (REJECT[name][0], files_of(REJECT[name][2])) for name in TOO_LARGE_TO_KEEP}


def has_frames(files):
    """Whether a reader without zstd says E_FEATURE, everything before being right."""
    return any(len(data) >= 128 and data[12] & 1 for data in files.values())


def valid_entry(files):
    """What a reader must find in a valid set."""
    root = list(segments_of(files[ROOT]))
    core = mp1.decode(root[0])["core"]
    names = [shard["name"] for shard in core["shards"]]
    every = [root, *(list(segments_of(files[name])) for name in names)]
    entry = {"tensors": {}, "documents": {}}
    for tensor in core["tensors"]:
        planes = {
            plane: b"".join(every[file][number] for file, number in taken)
            for plane, taken in tensor["planes"].items()
        }
        description = core["schemes"][tensor["scheme"]]
        values = oracle.values(description, planes, tuple(tensor["shape"]))
        found = {"shape": tensor["shape"], "sha256": decoded_digest(values)}
        entry["tensors"][tensor["name"]] = found
    for document in core["docs"]:
        text = b"".join(root[number] for _, number in document["seg"])
        entry["documents"][document["name"]] = sha256(text).hexdigest()
    return entry | ({"without_zstd": "E_FEATURE"} if has_frames(files) else {})


def corpus():
    """Every file of the corpus by its path, the manifest last."""
    found, manifest = {}, {"licence": "CC0-1.0", "reject": {}, "valid": {}, "version": 1}
    for name, make in VALID.items():
        files = files_of(make)
        manifest["valid"][name] = valid_entry(files)
        found |= {f"valid/{name}/{path}": data for path, data in files.items()}
    for name, (code, stage, make) in REJECT.items():
        if name not in TOO_LARGE_TO_KEEP:
            files = files_of(make)
            manifest["reject"][name] = {"code": code, "stage": stage}
            found |= {f"reject/{name}/{path}": data for path, data in files.items()}
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False)
    found["manifest.json"] = text.encode("utf-8") + b"\n"
    return found


def main():
    """Write or check; the answer is the exit status."""
    parser = argparse.ArgumentParser(description="the corpus of sharded .rq files")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where it differs")
    check = parser.parse_args().check
    wanted = corpus()
    kept = {p.relative_to(CORPUS).as_posix() for p in CORPUS.rglob("*") if p.is_file()}
    stale = sorted(kept - wanted.keys() - {"README.md"})
    for name, data in wanted.items():
        path = CORPUS / name
        if name in kept and path.read_bytes() == data:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    for name in stale:
        print(f"{'differs' if check else 'written or left over'}: {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
