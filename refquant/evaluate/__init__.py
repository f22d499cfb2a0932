"""How good a quantized model still is: measures with their protocols stated."""

from refquant.evaluate.perplexity import Perplexity, perplexity

__all__ = ["Perplexity", "perplexity"]
