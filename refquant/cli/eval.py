"""`refquant eval`: the perplexity of a model on a text, with the protocol beside the figure."""

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from refquant.cli.output import emit_json, print_pairs
from refquant.cli.progress import status
from refquant.errors import UsageError

__all__ = ["eval"]


def eval(  # noqa: A001  # the function is named like its command, and eval() is used nowhere here
    model: Annotated[
        str, Parameter(help="A .rq or .gguf file, a Hugging Face folder, or a known name.")
    ],
    /,
    *,
    text: Annotated[
        Path | None,
        Parameter(help="A UTF-8 text; without it, the chapters held out when demo was trained."),
    ] = None,
    window: Annotated[int, Parameter(help="Tokens of a window; its second half is scored.")] = 512,
    windows: Annotated[int | None, Parameter(help="Read at most this many windows.")] = None,
    weights: Annotated[
        Literal["auto", "float32", "u8", "packed"],
        Parameter(help="How weights are held, as for `run`; float32 is the quickest here."),
    ] = "float32",
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
) -> int:
    """Measure the perplexity of a model on a text.

    The text is cut into windows that do not overlap; the second half of each is scored. Figures
    can be compared where text, tokenizer and window are the same, which is why they are printed.

    For example:
      refquant eval demo
      refquant eval smollm2-135m --windows 4
      refquant eval small.rq --text novel.txt --window 1024 --json
    """
    from refquant.evaluate import perplexity
    from refquant.formats import open_checkpoint
    from refquant.library import locate
    from refquant.runtime import Tokenizer, load_model

    path, content = locate(model), _read(text)
    with status(f"loading {model}"):
        checkpoint = open_checkpoint(path)
        spec = checkpoint.need_tokenizer()
        tokenizer = Tokenizer(spec)
        loaded = load_model(checkpoint, weights=weights)
    ids = tokenizer.encode(content, add_bos=False)
    bos = spec.bos if spec.add_bos else None
    with status(f"reading {len(ids)} tokens"):
        found = perplexity(loaded, ids, window=window, windows=windows, bos=bos)
    facts = {
        "model": model,
        "text_sha256": sha256(content.encode()).hexdigest(),
        "window": found.window,
        "windows": found.windows,
        "scored_tokens": found.tokens,
        "nats_per_token": found.nats,
        "nats_error": found.error,
        "perplexity": found.value,
        "perplexity_error": found.value_error,
    }
    if json:
        emit_json("eval", facts)
    else:
        print_pairs(
            [
                ("perplexity", f"{found.value:.3f} ± {found.value_error:.3f} per token"),
                ("loss", f"{found.nats:.4f} ± {found.error:.4f} nats per token"),
                ("protocol", f"{found.windows} windows of {found.window} tokens"),
                ("scored", f"their second halves, {found.tokens} tokens"),
                ("text", f"SHA-256 {facts['text_sha256']}"),
            ]
        )
    return 0


def _read(text: Path | None) -> str:
    if text is None:
        from importlib.resources import files

        return (files("refquant") / "demo" / "heldout.txt").read_text("utf-8")
    try:
        return text.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"reading the text {text}: {error}") from error
