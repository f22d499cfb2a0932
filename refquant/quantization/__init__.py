"""Quantizing a checkpoint: from a recipe and its assignments to a written file.

`plan.py` is the file to be written; `inputs.py` collects what a model's matrices are multiplied
with, `importance_file.py` reads the same from llama.cpp, `folding.py` finds where AWQ's scales go.
"""

from refquant.quantization.plan import Knowledge, quantized_plan

__all__ = ["Knowledge", "quantized_plan"]
