"""`refquant eval`: how well a model predicts a text, and how far it is from another model."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from refquant.cli.computing import CacheTypes, Precisions, compute_of
from refquant.cli.output import emit_json, print_pairs
from refquant.cli.progress import status
from refquant.cli.texts import read_text
from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.evaluate import Divergence, Perplexity
    from refquant.formats.checkpoint import TokenizerSpec
    from refquant.runtime import Model, Tokenizer

__all__ = ["eval"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Computing:
    """How the model computes, as options."""

    weights: Annotated[
        Literal["auto", "float32", "u8", "packed"],
        Parameter(help="How weights are held, as for `run`; float32 is the quickest here."),
    ] = "float32"
    compute: Annotated[
        str | None,
        Parameter(help="Multiply under this contract, or weight-only, as for `run`."),
    ] = None
    precision: Precisions = None
    cache_type: CacheTypes = "float32"


def eval(  # noqa: A001  # the function is named like its command, and eval() is used nowhere here
    model: Annotated[
        str, Parameter(help="A .rq or .gguf file, a Hugging Face folder, or a known name.")
    ],
    /,
    *,
    reference: Annotated[
        str | None,
        Parameter(help="The model it was made from: print how far the two are apart."),
    ] = None,
    text: Annotated[
        Path | None,
        Parameter(help="A UTF-8 text; without it, the chapters held out when demo was trained."),
    ] = None,
    window: Annotated[int, Parameter(help="Tokens of a window; its second half is scored.")] = 512,
    windows: Annotated[int | None, Parameter(help="Read at most this many windows.")] = None,
    computing: Computing | None = None,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of text.")] = False,
) -> int:
    """Measure the perplexity of a model on a text, or its divergence from another model.

    The text is cut into windows that do not overlap; the second half of each is scored. Figures
    can be compared where text, tokenizer and window are the same, which is why they are printed.
    With --reference both models read the text, and their expectations of each next token are
    compared: the Kullback-Leibler divergence is 0 where they agree.

    For example:
      refquant eval demo
      refquant eval smollm2-135m --windows 4
      refquant eval small.rq --text novel.txt --window 1024 --json
      refquant eval small.rq --reference smollm2-135m --windows 4
      refquant eval demo --reference demo --cache-type int8
    """
    from refquant.evaluate import divergence, perplexity

    content = _read(text)
    asked = computing or Computing()
    loaded, tokenizer, bos = _loaded(model, asked)
    ids = tokenizer.encode(content, add_bos=False)
    facts: dict[str, Any] = {"model": model, "text_sha256": sha256(content.encode()).hexdigest()}
    facts |= {"compute": compute_of(loaded, asked.compute), "precision": loaded.precision}
    facts |= {"cache_type": loaded.cache_type}
    if reference is None:
        with status(f"reading {len(ids)} tokens"):
            found = perplexity(loaded, ids, window=window, windows=windows, bos=bos)
        _print({**facts, **_perplexity_facts(found)}, _shown(found), as_json=json)
        return 0
    other = _reference(reference, model, content, ids)
    with status(f"reading {len(ids)} tokens twice"):
        apart = divergence(loaded, other, ids, window=window, windows=windows, bos=bos)
    facts |= {**_perplexity_facts(apart.model), "reference": _reference_facts(reference, apart)}
    _print(facts, [*_compared(apart), *_shown(apart.model)], as_json=json)
    return 0


def _reference(name: str, model: str, content: str, ids: list[int]) -> "Model":
    """The model to compare with, which has to cut the text into the same tokens."""
    other, tokenizer, _ = _loaded(name, Computing())
    if tokenizer.encode(content, add_bos=False) != ids:
        raise UsageError(
            f"{name} cuts the text into other tokens than {model}: their predictions cannot "
            "be compared"
        )
    return other


def _loaded(name: str, computing: Computing) -> "tuple[Model, Tokenizer, int | None]":
    """A model, its tokenizer, and the token that its windows begin with, if there is one."""
    from refquant.formats import open_checkpoint
    from refquant.library import locate
    from refquant.runtime import Tokenizer, load_model

    path = locate(name)
    with status(f"loading {name}"):
        checkpoint = open_checkpoint(path)
        checkpoint.need_architecture()
        spec = checkpoint.need_tokenizer()
        model = load_model(
            checkpoint,
            computing.weights,
            compute=computing.compute,
            precision=computing.precision,
            cache_type=computing.cache_type,
        )
        return model, Tokenizer(spec), _first(spec)


def _first(spec: "TokenizerSpec") -> int | None:
    return spec.bos if spec.add_bos else None


def _perplexity_facts(found: "Perplexity") -> dict[str, Any]:
    return {
        "window": found.window,
        "windows": found.windows,
        "scored_tokens": found.tokens,
        "nats_per_token": found.nats,
        "nats_error": found.error,
        "perplexity": found.value,
        "perplexity_error": found.value_error,
    }


def _reference_facts(name: str, apart: "Divergence") -> dict[str, Any]:
    return {
        "model": name,
        "perplexity": apart.reference.value,
        "perplexity_error": apart.reference.value_error,
        "kl": apart.kl.value,
        "kl_error": apart.kl.error,
        "kl_median": apart.median,
        "kl_percentile_99": apart.percentile_99,
        "kl_largest": apart.largest,
        "same_top": apart.same_top.value,
        "same_top_error": apart.same_top.error,
        "more_nats": apart.more_loss.value,
        "more_nats_error": apart.more_loss.error,
    }


def _compared(apart: "Divergence") -> list[tuple[str, str]]:
    """What is printed of two models."""
    kl, same, more = apart.kl, apart.same_top, apart.more_loss
    reference = apart.reference
    return [
        ("divergence", f"{kl.value:.5f} ± {kl.error:.5f} nats per token (KL from the reference)"),
        ("", f"median {apart.median:.5f}, 99 % below {apart.percentile_99:.4f}"),
        ("same top", f"{100 * same.value:.2f} ± {100 * same.error:.2f} % of tokens"),
        ("more loss", f"{more.value:+.4f} ± {more.error:.4f} nats per token"),
        ("reference", f"perplexity {reference.value:.3f} ± {reference.value_error:.3f} per token"),
    ]


def _shown(found: "Perplexity") -> list[tuple[str, str]]:
    return [
        ("perplexity", f"{found.value:.3f} ± {found.value_error:.3f} per token"),
        ("loss", f"{found.nats:.4f} ± {found.error:.4f} nats per token"),
        ("protocol", f"{found.windows} windows of {found.window} tokens"),
        ("scored", f"their second halves, {found.tokens} tokens"),
    ]


def _print(facts: dict[str, Any], shown: list[tuple[str, str]], *, as_json: bool) -> None:
    if as_json:
        emit_json("eval", facts)
    else:
        print_pairs([*shown, ("text", f"SHA-256 {facts['text_sha256']}")])


def _read(text: Path | None) -> str:
    if text is None:
        from importlib.resources import files

        return (files("refquant") / "demo" / "heldout.txt").read_text("utf-8")
    return read_text(text, "the text")
