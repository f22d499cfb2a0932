"""The network that `train.py` trains: a llama in PyTorch, with Hugging Face's names of weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The dimensions of a model; all are multiples of 32, most of 256, to suit quantization."""

    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 512
    num_hidden_layers: int = 5
    num_attention_heads: int = 8
    num_key_value_heads: int = 2
    head_dim: int = 32
    max_position_embeddings: int = 512
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5


class RMSNorm(nn.Module):
    """Division by the root mean square of a vector, then a learned gain per channel."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Rotary(nn.Module):
    """Rotary position embedding in the "rotated half" layout: channel i pairs with i + d/2."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        exponent = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
        positions = torch.arange(shape.max_position_embeddings, dtype=torch.float64)
        angles = torch.outer(positions, shape.rope_theta**-exponent).repeat(1, 2)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rotate queries or keys of shape (batch, heads, positions, head_dim)."""
        count = x.shape[-2]
        cos, sin = self.cos[:count].to(x.dtype), self.sin[:count].to(x.dtype)
        low, high = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-high, low), dim=-1) * sin


class Attention(nn.Module):
    """Causal grouped-query attention: several query heads share one key and value head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        queries = shape.num_attention_heads * shape.head_dim
        keys = shape.num_key_value_heads * shape.head_dim
        self.head_dim = shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, queries, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, keys, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, keys, bias=False)
        self.o_proj = nn.Linear(queries, shape.hidden_size, bias=False)

    def heads(self, x: Tensor) -> Tensor:
        """Split channels into heads: (batch, positions, n * d) to (batch, n, positions, d)."""
        return x.view(*x.shape[:-1], -1, self.head_dim).transpose(1, 2)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """Let each position attend to itself and those before it."""
        q, k = rotary(self.heads(self.q_proj(x))), rotary(self.heads(self.k_proj(x)))
        v = self.heads(self.v_proj(x))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """The SwiGLU feed-forward network."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position by itself."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """A decoder layer: attention and feed-forward network, each normalised and residual."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.mlp = MLP(shape)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """Add both contributions to the residual stream."""
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), rotary))
        out: Tensor = x + self.dropout(self.mlp(self.post_attention_layernorm(x)))
        return out


class Decoder(nn.Module):
    """Embedding, decoder layers and final norm; its parameters bear their published names."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        layers = (Layer(shape, dropout) for _ in range(shape.num_hidden_layers))
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.rotary = Rotary(shape)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Hidden states of shape (batch, positions, hidden_size)."""
        x = self.dropout(self.embed_tokens(tokens))
        for layer in self.layers:
            x = layer(x, self.rotary)
        out: Tensor = self.norm(x)
        return out


class CausalLM(nn.Module):
    """The language model; the embedding matrix doubles as the output projection."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.model = Decoder(shape, dropout)
        residual = 0.02 / math.sqrt(2 * shape.num_hidden_layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                adds_to_stream = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=residual if adds_to_stream else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of shape (batch, positions, vocab_size)."""
        return functional.linear(self.model(tokens), self.model.embed_tokens.weight)
