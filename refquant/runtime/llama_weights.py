"""The tensors of a llama checkpoint, arranged as the forward pass reads them.

Matrices that read the same input are stacked, so that one product serves them all: queries, keys
and values; gate and up.
"""

from refquant.formats.checkpoint import Checkpoint
from refquant.runtime.config import LlamaConfig
from refquant.runtime.llama import BlockWeights, LlamaWeights
from refquant.runtime.weights import WeightMode, WeightReader
from refquant.tensor import QuantizedTensor

__all__ = ["read_llama"]


def read_llama(checkpoint: Checkpoint, config: LlamaConfig, mode: WeightMode) -> LlamaWeights:
    """The weights of a llama model whose tensors have been checked against `config`."""
    reader = WeightReader(checkpoint, mode)
    embedding = reader.table("token_embd.weight")
    if not config.tied_embeddings:
        output = reader.matrix("output.weight")
    elif isinstance(embedding, QuantizedTensor):
        output = reader.matrix("token_embd.weight")
    else:
        output = embedding
    return {
        "embedding": embedding,
        "blocks": [_read_block(reader, f"blk.{layer}") for layer in range(config.layers)],
        "output_norm": reader.vector("output_norm.weight"),
        "output": output,
    }


def _read_block(reader: WeightReader, block: str) -> BlockWeights:
    queries, keys, values = (f"{block}.attn_{part}.weight" for part in "qkv")
    return {
        "attention_norm": reader.vector(f"{block}.attn_norm.weight"),
        "attention": {
            "query_key_value": reader.matrix(queries, keys, values),
            "output": reader.matrix(f"{block}.attn_output.weight"),
        },
        "feed_forward_norm": reader.vector(f"{block}.ffn_norm.weight"),
        "feed_forward": {
            "gate_up": reader.matrix(f"{block}.ffn_gate.weight", f"{block}.ffn_up.weight"),
            "down": reader.matrix(f"{block}.ffn_down.weight"),
        },
    }
