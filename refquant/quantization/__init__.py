"""Quantizing a checkpoint: from a recipe and its assignments to a written file.

`plan.py` is the file to be written, `checkpoint_file.py` writes it, `executors.py` has its tensors
made by workers; `inputs.py` collects what a model's matrices are multiplied with,
`importance_file.py` reads the same from llama.cpp, `folding.py` finds where AWQ's scales go.
"""

from refquant.quantization.checkpoint_file import Hands, quantize_checkpoint, write_quantized
from refquant.quantization.plan import Knowledge, quantized_plan

__all__ = ["Hands", "Knowledge", "quantize_checkpoint", "quantized_plan", "write_quantized"]
