"""Quantizing a checkpoint: from a recipe and its assignments to a written file."""

from refquant.quantization.plan import quantized_plan

__all__ = ["quantized_plan"]
