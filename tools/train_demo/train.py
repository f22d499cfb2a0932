"""Train the demo model: a llama-style causal language model of a few million parameters.

The text is six Jane Austen novels (see ``corpus.py``); the last two chapters of Persuasion are
held out.  A byte-level BPE tokenizer is trained first, then the model.  Whenever the held-out
loss of the weights *as rounded to bfloat16* reaches a new minimum, the model is exported as a
Hugging Face directory: ``config.json``, ``tokenizer.json``, ``tokenizer_config.json`` and
``model.safetensors``.  The model thus exported last is the result.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from corpus import read_corpus, sha256
from directory import END_OF_TEXT, END_OF_TEXT_ID, export, load, model_of
from network import CausalLM, Shape
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional

HELD_OUT_NOVEL = "persuasion"
HELD_OUT_FROM = "Chapter 23\n"
PROMPTS = ("It is a truth universally acknowledged", "Emma", "The ", "Mr. Darcy", "She was")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; a window is a run of tokens of the full context length."""

    steps: int = 6000
    windows_per_step: int = 4
    learning_rate: float = 2e-3
    warmup_steps: int = 150
    weight_decay: float = 0.1
    dropout: float = 0.15
    gradient_norm: float = 1.0
    paragraph_starts: float = 0.25
    evaluate_every: int = 200
    seed: int = 1811


def split_held_out(novels: dict[str, str]) -> tuple[list[str], str]:
    """The chapters to train on and, as one text, the chapters held out."""
    novels = dict(novels)
    start = novels[HELD_OUT_NOVEL].index(HELD_OUT_FROM)
    held_out = novels[HELD_OUT_NOVEL][start:]
    novels[HELD_OUT_NOVEL] = novels[HELD_OUT_NOVEL][:start]
    chapters: list[str] = []
    for text in novels.values():
        for line in text.splitlines(keepends=True):
            if line.startswith("Chapter "):
                chapters.append("")
            chapters[-1] += line
    return chapters, held_out


def train_tokenizer(chapters: list[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer with GPT-2's rule for splitting text into words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chapters, trainer)
    return tokenizer


def token_stream(tokenizer: Tokenizer, chapters: list[str]) -> Tensor:
    """The tokens of all chapters, an end-of-text token before each chapter."""
    ids: list[int] = []
    for chapter in chapters:
        ids += [END_OF_TEXT_ID, *tokenizer.encode(chapter).ids]
    return torch.tensor([*ids, END_OF_TEXT_ID])


def batches(
    stream: Tensor, newline: int, context: int, recipe: Recipe, generator: torch.Generator
) -> Iterator[Tensor]:
    """Batches of windows (context + 1 tokens each), epoch after epoch without end.

    An epoch cuts the stream at a random phase into windows that overlap by one token and
    shuffles them.  A share of the windows is moved on to the next paragraph, with an
    end-of-text token before it, so that the model also learns to begin a text anywhere.
    """
    paragraphs = (stream[: -context - 1] == newline).nonzero()[:, 0]
    while True:
        phase = int(torch.randint(context, (1,), generator=generator))
        starts = torch.arange(phase, len(stream) - context, context)
        moved = torch.rand(len(starts), generator=generator) < recipe.paragraph_starts
        following = torch.searchsorted(paragraphs, starts).clamp(max=len(paragraphs) - 1)
        starts = torch.where(moved, paragraphs[following], starts)
        windows = stream[starts[:, None] + torch.arange(context + 1)]
        windows[moved, 0] = END_OF_TEXT_ID
        order = torch.randperm(len(windows), generator=generator)
        for chosen in torch.split(order, recipe.windows_per_step):
            yield windows[chosen]


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up to the peak, then half a cosine down to zero."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / (recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with weight decay on the matrices, none on the gains of the norms."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    gains = [p for p in model.parameters() if p.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": gains, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def loss_of(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Cross entropy in nats."""
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), reduction=reduction
    )


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, windows: Tensor, recipe: Recipe
) -> float:
    """One update of the weights; products run in bfloat16, the weights stay in float32."""
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model(windows[:, :-1]), windows[:, 1:])
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_norm)
    optimizer.step()
    return loss.item()


def rounded(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights rounded to bfloat16."""
    return {name: value.bfloat16() for name, value in model.state_dict().items()}


@torch.inference_mode()
def held_out_loss(model: CausalLM, tokens: Tensor, context: int) -> float:
    """Mean loss in nats per token, over consecutive windows that do not see one another.

    ``tokens`` begins with an end-of-text token; every later token is predicted exactly once.
    """
    total = 0.0
    for start in range(0, len(tokens) - 1, context):
        window = tokens[None, start : start + context + 1]
        total += loss_of(model(window[:, :-1]), window[:, 1:], "sum").item()
    return total / (len(tokens) - 1)


@torch.inference_mode()
def continuation(
    model: CausalLM, tokenizer: Tokenizer, prompt: str, temperature: float, count: int = 80
) -> str:
    """The prompt and its continuation: greedy at temperature 0, else sampled (fixed seed)."""
    generator = torch.Generator().manual_seed(0)
    ids = [END_OF_TEXT_ID, *tokenizer.encode(prompt).ids]
    for _ in range(count):
        logits = model(torch.tensor([ids]))[0, -1]
        if temperature == 0:
            following = int(logits.argmax())
        else:
            weights = (logits / temperature).softmax(-1)
            following = int(torch.multinomial(weights, 1, generator=generator))
        if following == END_OF_TEXT_ID:
            break
        ids.append(following)
    return tokenizer.decode(ids[1:])


def report(directory: Path, held_out: str) -> None:
    """Print the quality of an exported model: held-out loss, perplexities and samples."""
    model, tokenizer, shape = load(directory)
    tokens = token_stream(tokenizer, [held_out])[:-1]
    loss = held_out_loss(model, tokens, shape.max_position_embeddings)
    size, count = len(held_out.encode("utf-8")), len(tokens) - 1
    per_byte = loss * count / size
    print(f"parameters {sum(p.numel() for p in model.parameters())}")
    print(f"held out: {count} tokens, {size} bytes, SHA-256 {sha256(held_out)}")
    print(f"per token: {loss:.4f} nats, perplexity {math.exp(loss):.3f}")
    print(f"per byte: {per_byte / math.log(2):.4f} bits, perplexity {math.exp(per_byte):.4f}")
    for temperature in (0.0, 0.7):
        for prompt in PROMPTS:
            text = continuation(model, tokenizer, prompt, temperature)
            print(f"--- temperature {temperature}: {text}")


def initial_model(initial: Path | None, shape: Shape, recipe: Recipe) -> CausalLM:
    """A model to train: random, or with the weights of an exported directory."""
    model = CausalLM(shape, recipe.dropout)
    if initial:
        model.load_state_dict(load_file(initial / "model.safetensors"))
    return model


def train(
    texts: tuple[list[str], str],
    initial: Path | None,
    target: Path,
    shape: Shape,
    recipe: Recipe,
) -> None:
    """Train on the chapters of ``texts``; keep in ``target`` the model best on its held-out text.

    The tokenizer depends on the chapters alone, so that a model trained on earlier with the
    same chapters (``initial``) goes on with the same tokens.
    """
    chapters, held_out = texts
    torch.manual_seed(recipe.seed)
    tokenizer = train_tokenizer(chapters, shape.vocab_size)
    (newline,) = tokenizer.encode("\n").ids
    stream = token_stream(tokenizer, chapters)
    unseen = token_stream(tokenizer, [held_out])[:-1]
    context = shape.max_position_embeddings
    model = initial_model(initial, shape, recipe)
    optimizer = optimizer_of(model, recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    source = batches(stream, newline, context, recipe, generator)
    print(f"{len(stream)} training tokens, {len(unseen) - 1} held out", flush=True)
    best, losses, begin = math.inf, [], time.monotonic()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        losses.append(train_step(model, optimizer, next(source), recipe))
        if (step + 1) % recipe.evaluate_every and step + 1 < recipe.steps:
            continue
        weights = rounded(model)
        loss = held_out_loss(model_of(weights, shape), unseen, context)
        if loss < best:
            best = loss
            export(target, weights, tokenizer, shape)
        seconds, mean = time.monotonic() - begin, sum(losses) / len(losses)
        print(f"{step + 1} {seconds:.0f}s train {mean:.4f} held-out {loss:.4f}", flush=True)
        losses.clear()


def parse_arguments() -> argparse.Namespace:
    """The command line; the defaults are those of the published model's first stretch."""
    parser = argparse.ArgumentParser(description="Train the demo language model.")
    parser.add_argument("source", type=Path, help="the .deb, its Rdata.rdb, or cleaned texts")
    parser.add_argument("target", type=Path, help="directory of the exported model")
    parser.add_argument("--held-out", type=Path, help="also write the held-out text here")
    parser.add_argument("--initial", type=Path, help="exported model whose weights to start from")
    parser.add_argument("--report-only", action="store_true", help="examine target, no training")
    parser.add_argument("--threads", type=int, default=2, help="threads (default 2)")
    for name, default in asdict(Recipe()).items():
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=type(default), default=default, help=f"{default}")
    return parser.parse_args()


def main() -> None:
    """Read the corpus, train, and report on the exported model."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    chapters, held_out = split_held_out(read_corpus(arguments.source))
    if arguments.held_out:
        arguments.held_out.write_text(held_out, "utf-8", newline="\n")
    recipe = Recipe(**{name: getattr(arguments, name) for name in asdict(Recipe())})
    if not arguments.report_only:
        texts = chapters, held_out
        train(texts, arguments.initial, arguments.target, Shape(), recipe)
    report(arguments.target, held_out)


if __name__ == "__main__":
    main()
