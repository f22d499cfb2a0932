"""Roots and their shards in parts, and the sets that every reader must accept."""

import copy
from dataclasses import dataclass, field

from conformance.container.frames import frame
from conformance.container.operator_files import GATHERED, index
from conformance.container.parts import (
    BLOCKS,
    CHAT,
    CODES,
    DOCUMENT,
    PLANE,
    Q4_0,
    ROWS,
    SCALES,
    TOKENIZER,
    Parts,
    Payload,
    build,
)

__all__ = ["REJECT", "ROOT", "VALID", "defect", "example", "files_of", "laid_out", "shard_of"]

ROOT = "model.rq"
SHARDS_BIT = 2


def shard_of(payloads, features=SHARDS_BIT, **header):
    """A shard in parts."""
    core = {"core": {"role": "shard"}, "info": {}} | header
    return Parts(core, payloads, preamble={"features": features})


@dataclass
class Set:
    """A root and its shards before they are laid out.

    `shards` are names and parts or bytes; `listed` replaces entries of the root's list by number;
    `files` are what is written beside the root in place of what is listed.
    """

    header: dict
    payloads: list
    shards: list
    preamble: dict = field(default_factory=lambda: {"features": SHARDS_BIT})
    listed: dict = field(default_factory=dict)
    files: dict = field(default_factory=dict)

    @property
    def core(self):
        """The root's `core`."""
        return self.header["core"]

    @property
    def tensors(self):
        """The root's tensors by name."""
        return {tensor["name"]: tensor for tensor in self.core["tensors"]}


def example():
    """Two documents in the root; one plane in the first shard, two in the second."""
    core = {
        "alias": [{"name": "tied", "of": "a"}],
        "arch": {"family": "llama", "fields": {"layers": 1}},
        "docs": [
            {"media": "text/x-jinja", "name": "chat", "seg": [[0, 1]]},
            {"media": "text/plain", "name": "empty", "seg": []},
            {"media": "application/json", "name": "tokenizer.json", "seg": [[0, 2]]},
        ],
        "schemes": [copy.deepcopy(Q4_0), copy.deepcopy(ROWS)],
        "tensors": [
            {"name": "a", "planes": {"blocks": [[1, 1]]}, "scheme": 0, "shape": [2, 32]},
            {
                "name": "b",
                "planes": {"codes": [[2, 1]], "scales": [[2, 2]]},
                "scheme": 1,
                "shape": [2, 3],
            },
        ],
        "tokenizer": {
            "add_bos": True,
            "bos": 1,
            "doc": "tokenizer.json",
            "eos": [2],
            "kind": "bpe-bytelevel-1",
        },
    }
    payloads = [Payload(DOCUMENT, CHAT), Payload(DOCUMENT, TOKENIZER)]
    first = shard_of([Payload(PLANE, BLOCKS)])
    second = shard_of([Payload(PLANE, CODES), Payload(PLANE, SCALES)])
    shards = [("first.rq", first), ("second.rq", second)]
    return Set({"core": core, "info": {"licence": "CC0-1.0"}}, payloads, shards)


def laid_out(made):
    """The files of a set by name."""
    files, listed = {}, []
    for number, (name, parts) in enumerate(made.shards):
        data = parts if isinstance(parts, bytes) else build(parts)
        files[name] = data
        entry = {"name": name, "file_len": len(data), "root": data[32:64]}
        listed.append(entry | made.listed.get(number, {}))
    header = copy.deepcopy(made.header)
    header["core"].setdefault("shards", listed)
    if header["core"]["shards"] is None:
        del header["core"]["shards"]
    files[ROOT] = build(Parts(header, made.payloads, preamble=made.preamble))
    files |= made.files
    return {name: data for name, data in sorted(files.items()) if data is not None}


def planes_of_b(made, codes, scales):
    made.tensors["b"]["planes"] = {"codes": codes, "scales": scales}


VALID = {}
REJECT = {}
"""Name -> (code, stage, the function that makes the set)."""


def valid(make):
    """Register a valid set, made of the example."""
    VALID[make.__name__] = make
    return make


@valid
def operators_in_the_root(made):
    """A tensor behind an index, whose planes are in two shards' order of names."""
    made.core["schemes"][1] = copy.deepcopy(GATHERED)
    made.tensors["b"] |= {
        "planes": {"codes": [[2, 1]], "g_idx": [[2, 2]], "scales": [[2, 3]]},
        "shape": [1, 6],
    }
    planes = [CODES, index(1, 0, 1, 1, 0, 0), SCALES]
    made.shards[1] = ("second.rq", shard_of([Payload(PLANE, data) for data in planes]))
    made.preamble["features"] = SHARDS_BIT | 4


def defect(code, stage="S6"):
    """Register a set with one defect."""

    def register(make):
        REJECT[make.__name__] = (code, stage, make)
        return make

    return register


def files_of(make):
    """The files that a registered function makes."""
    made = example()
    return laid_out(make(made) or made)


# ------------------------------------------------------------------- sets to accept


@valid
def two_shards(_):
    return None


@valid
def one_shard(made):
    made.shards = [("all.rq", shard_of([Payload(PLANE, d) for d in (BLOCKS, CODES, SCALES)]))]
    made.tensors["b"]["planes"] = {"codes": [[1, 2]], "scales": [[1, 3]]}


@valid
def a_plane_in_the_root(made):
    made.payloads.append(Payload(PLANE, BLOCKS))
    made.tensors["a"]["planes"] = {"blocks": [[0, 3]]}
    made.tensors["b"]["planes"] = {"codes": [[1, 1]], "scales": [[1, 2]]}
    made.shards = made.shards[1:]


@valid
def planes_of_a_tensor_in_two_shards(made):
    made.shards[0][1].payloads.append(Payload(PLANE, CODES))
    made.shards[1][1].payloads = [Payload(PLANE, SCALES)]
    made.tensors["b"]["planes"] = {"codes": [[1, 2]], "scales": [[2, 1]]}


@valid
def no_documents(made):
    made.payloads = []
    made.core["docs"] = []
    del made.core["tokenizer"]


@valid
def names_of_many_kinds(made):
    names = ["A.b_c-1.rq", "0" * 125 + ".rq"]
    made.shards = [(name, parts) for name, (_, parts) in zip(names, made.shards, strict=True)]


@valid
def a_name_that_begins_like_a_device(made):
    made.shards[0] = ("nul0.rq", made.shards[0][1])
    made.shards[1] = ("com.rq", made.shards[1][1])


@valid
def equal_shards_under_two_names(made):
    tensor = made.tensors["a"]
    made.core["tensors"] = [tensor, tensor | {"name": "b", "planes": {"blocks": [[2, 1]]}}]
    made.core["schemes"] = made.core["schemes"][:1]
    made.shards[1] = ("second.rq", made.shards[0][1])


@valid
def info_and_extensions_in_shards(made):
    drawers = {"info": {"note": "x"}, "ext": {"x-test.y": {"critical": False, "data": [1]}}}
    made.shards[0] = ("first.rq", shard_of([Payload(PLANE, BLOCKS)], **drawers))
    made.header["ext"] = drawers["ext"]


RUNS = bytes([1]) * 48 + bytes([2]) * 48


@valid
def a_compressed_shard(made):
    made.tensors["b"]["shape"] = [2, 48]
    codes = Payload(PLANE, frame(RUNS), RUNS)
    made.shards[1] = ("second.rq", shard_of([codes, Payload(PLANE, SCALES)], SHARDS_BIT | 1))


@valid
def a_compressed_root(made):
    made.payloads[0] = Payload(DOCUMENT, frame(RUNS), RUNS)
    made.preamble["features"] = SHARDS_BIT | 1
