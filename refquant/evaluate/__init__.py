"""How good a quantized model still is: measures with their protocols stated."""

from refquant.evaluate.divergence import Divergence, Recorded, divergence
from refquant.evaluate.perplexity import Mean, Perplexity, perplexity

__all__ = ["Divergence", "Mean", "Perplexity", "Recorded", "divergence", "perplexity"]
