"""SmolLM2's logits for a text of 64 tokens, beside those of transformers and of llama.cpp.

    python -m tests.differential.logits_smollm2 MODEL.gguf TORCH_PYTHON [LLAMA_PYTHON]

All three run on the same float32 weights: those that our decoder gives for the file. Handing
llama.cpp the quantized file itself would compare another formula, because it also quantizes the
activations before every product; the report names that distance too, without judging it.

Two claims are made of each pair of logits (ours and theirs), per position, where m is the distance
of the two most probable tokens and `probable` the bound of `workers/logits_transformers.py`:

1. |m(ours) - m(exact)| and |m(theirs) - m(exact)| stay within `probable`;
2. wherever m(exact) exceeds 2 * `probable`, both name the same most probable token.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refquant.architectures import family_named
from refquant.formats import open_checkpoint
from refquant.runtime import Tokenizer, load_model

WORKERS = Path(__file__).parent / "workers"
TOKENS = 64
TEXT = (
    "Four score and seven years ago our fathers brought forth on this continent, a new nation, "
    "conceived in Liberty, and dedicated to the proposition that all men are created equal. Now we "
    "are engaged in a great civil war, testing whether that nation, or any nation so conceived and "
    "so dedicated, can long endure. We are met on a great battle-field of that war."
)


@dataclass(frozen=True)
class Comparison:
    """Two implementations' logits f32[t, v] and the worker's results."""

    name: str
    ours: np.ndarray
    theirs: np.ndarray
    exact: np.ndarray
    first: np.ndarray
    second: np.ndarray
    probable: np.ndarray
    worst: np.ndarray

    def margin(self, logits):
        """Distance of the two most probable tokens, as `logits` see it, f64[t]."""
        place = np.arange(len(logits))
        return logits[place, self.first].astype(np.float64) - logits[place, self.second]

    @property
    def strays(self):
        """How far each side's margins are off, in units of the bound: ours, theirs."""
        exact = self.margin(self.exact)
        return [
            float(np.max(np.abs(self.margin(logits) - exact) / self.probable))
            for logits in (self.ours, self.theirs)
        ]

    @property
    def decided(self):
        """Positions whose margin exceeds what two implementations can be apart."""
        return self.margin(self.exact) > 2 * self.probable

    @property
    def agreeing(self):
        """Positions where both name the same most probable token."""
        return np.argmax(self.ours, axis=1) == np.argmax(self.theirs, axis=1)

    @property
    def largest_difference(self):
        """Of any logit at any position."""
        return float(np.max(np.abs(self.ours.astype(np.float64) - self.theirs)))

    def report(self):
        """What the comparison found, in lines."""
        margin = self.margin(self.exact)
        off = [np.max(np.abs(logits - self.exact)) for logits in (self.ours, self.theirs)]
        rows = {
            "logits": f"{self.ours.shape}, largest {np.max(np.abs(self.exact)):.1f}",
            "largest difference, ours to theirs": f"{self.largest_difference:.3g}",
            "largest difference to float64": f"ours {off[0]:.3g}, theirs {off[1]:.3g}",
            "probable bound on a margin's error": f"at most {self.probable.max():.3g}",
            "worst case of a margin's error": f"at most {self.worst.max():.3g}",
            "margins off, in probable bounds": "ours {:.3g}, theirs {:.3g}".format(*self.strays),
            "margins": f"smallest {margin.min():.3g}, median {np.median(margin):.3g}",
            "margins above twice the bound": f"{self.decided.sum()} of {len(margin)}",
            "same first token": f"{self.agreeing.sum()} of {len(margin)}",
        }
        return "\n".join([self.name, *(f"  {what:36}{found}" for what, found in rows.items())])


def write_inputs(gguf, folder):
    """Tokens, names and float32 tensors for the workers; returns our logits f32[t, v]."""
    checkpoint = open_checkpoint(gguf)
    model = load_model(checkpoint)
    tokens = Tokenizer(checkpoint.tokenizer).encode(TEXT)[:TOKENS]
    fields = checkpoint.architecture.fields
    names = family_named("llama").hugging_face_names(fields)
    for name in names.values():
        np.save(folder / f"{name}.npy", checkpoint.tensors[name].dequantize())
    np.save(folder / "tokens.npy", np.array(tokens, np.int64))
    (folder / "names.json").write_text(json.dumps(names))
    (folder / "fields.json").write_text(json.dumps(dict(fields)))
    (folder / "config.json").write_text(json.dumps(transformers_config(fields)))
    return model.forward(tokens, model.new_cache(TOKENS))


def transformers_config(fields):
    """What LlamaConfig calls our fields; `rope_style` is for the worker."""
    return {
        "num_hidden_layers": fields["layers"],
        "hidden_size": fields["width"],
        "num_attention_heads": fields["heads"],
        "num_key_value_heads": fields["key_value_heads"],
        "head_dim": fields["head_width"],
        "intermediate_size": fields["feedforward_width"],
        "vocab_size": fields["vocabulary"],
        "max_position_embeddings": fields["context"],
        "rope_theta": fields["rope_theta"],
        "rms_norm_eps": float(np.float32(fields["norm_epsilon"])),
        "tie_word_embeddings": fields["tied_embeddings"],
        "rope_style": fields["rope_style"],
    }


def write_float32_gguf(source, target, tensors, architecture="llama"):
    """The GGUF file `source` with every tensor as float32, by the gguf package."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, architecture)
    ours = {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", "general.architecture"}
    for name, field in reader.fields.items():
        if name in ours or name == "general.file_type":
            continue
        inner = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ask_llama_cpp(gguf, python, folder):
    """What the worker finds for the same weights in float32, and for the file itself."""
    names = json.loads((folder / "names.json").read_text()).values()
    tensors = {name: np.load(folder / f"{name}.npy") for name in names}
    write_float32_gguf(gguf, folder / "float32.gguf", tensors)
    (folder / "quantized.gguf").symlink_to(Path(gguf).resolve())
    return run_worker(python, "llama_cpp", folder)


def run_worker(python, name, folder):
    """The arrays that a worker leaves in `folder`."""
    subprocess.run([python, WORKERS / f"logits_{name}.py", folder], check=True)
    with np.load(folder / f"{name}.npz") as results:
        return dict(results)


def main():
    """Compare, and print what came out."""
    gguf, torch, *llama = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = write_inputs(gguf, folder)
        found = run_worker(torch, "transformers", folder)
        print(Comparison("transformers", ours, **found).report())
        for python in llama:
            answer = ask_llama_cpp(gguf, python, folder)
            quantized = answer.pop("quantized")
            print(Comparison("llama.cpp", ours, **(found | answer)).report())
            print(
                Comparison("llama.cpp, quantized", ours, **(found | {"theirs": quantized})).report()
            )


if __name__ == "__main__":
    main()
