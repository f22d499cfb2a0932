"""Running a model: weights, forward pass, cache, sampling, text.

Read in this order: `ops.py` and `linear.py` (arithmetic), `attention.py`, `rope.py` and `blocks.py`
(the parts of a layer), `decoder.py` (the whole forward pass), `cache.py`, `weights.py`, `parts.py`,
`decoder_weights.py` and `model.py` (from a file to something that runs), `sampling.py` and
`generate.py` (the loop), `text_stream.py` and `tokenizer.py` (text). Beside them `dense.py`,
`packed.py`, `grouped.py`, `coded.py` and `stacked.py` (the forms of a matrix), `encoder.py` (text
to vectors), `diffusion.py` (filling in masks), `speculate.py` (several tokens at once), and
`workers.py`, `team.py`, `team_worker.py` and `gated.py` (what several processes compute).
"""

from refquant.runtime.diffusion import DiffusionOptions
from refquant.runtime.encoder import Encoder, load_encoder
from refquant.runtime.generate import GenerateOptions, Generation, Step, Timings, generate
from refquant.runtime.model import Model, load_model
from refquant.runtime.sampling import SamplingOptions
from refquant.runtime.tokenizer import Tokenizer

__all__ = [
    "DiffusionOptions",
    "Encoder",
    "GenerateOptions",
    "Generation",
    "Model",
    "SamplingOptions",
    "Step",
    "Timings",
    "Tokenizer",
    "generate",
    "load_encoder",
    "load_model",
]
