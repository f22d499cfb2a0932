"""`refquant embed`: texts in, vectors out."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from refquant.cli.destination import check_output
from refquant.cli.output import emit_json, print_pairs, print_table
from refquant.cli.progress import status
from refquant.cli.texts import read_text
from refquant.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from refquant.runtime import Encoder, Tokenizer
    from refquant.runtime.encoder import Pooling

__all__ = ["embed"]

_SHOWN = 4
_LONGEST = 40


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Making:
    """How a vector is made, as options."""

    pooling: Annotated[
        Literal["mean", "cls", "none"] | None,
        Parameter(
            help="The mean of the tokens' vectors, the first token's, or one vector for each "
            "token. [default: the model's own]"
        ),
    ] = None
    normalize: Annotated[bool, Parameter(help="Bring every vector to length 1.")] = False
    weights: Annotated[
        Literal["auto", "float32", "u8", "packed"],
        Parameter(help="How weights are held, as for `run`."),
    ] = "float32"
    arith: Annotated[
        Literal["fast", "exact"],
        Parameter(help="How sums are rounded: exact gives the same bits on every machine."),
    ] = "fast"


def embed(
    model: Annotated[str, Parameter(help="An encoder (BERT): a .rq file or Hugging Face folder.")],
    /,
    *texts: Annotated[str, Parameter(help="Texts, each in quotes.")],
    file: Annotated[
        Path | None,
        Parameter(name=["--file", "-f"], help="Take every line of a file as a text."),
    ] = None,
    output: Annotated[
        Path | None,
        Parameter(
            name=["--output", "-o"], help="Write the vectors to a .npy file, f32[texts, width]."
        ),
    ] = None,
    making: Making | None = None,
    json: Annotated[bool, Parameter(help="Print one JSON object with all vectors.")] = False,
) -> int:
    """Turn texts into vectors with an encoder.

    Shows the first numbers of each vector, and how near the texts are to the first one: the cosine
    of the angle between the vectors, 1 for the same direction. --json and -o give all numbers.

    For example:
      refquant embed all-MiniLM-L6-v2 "A cat sits on the mat." "A kitten rests on a rug."
      refquant embed all-MiniLM-L6-v2 "A cat sits on the mat." --pooling cls --normalize --json
      refquant embed all-MiniLM-L6-v2 -f sentences.txt -o vectors.npy
    """
    asked = making or Making()
    lines = _texts(texts, file)
    if output is not None:
        _check(output, asked)
    encoder, tokenizer = _opened(model, asked)
    ids = [tokenizer.encode_between_ends(line) for line in lines]
    pooling: Pooling | None = "first" if asked.pooling == "cls" else asked.pooling
    with status(f"reading {len(lines)} texts"):
        vectors = [encoder.embed(one, pooling=pooling, normalize=asked.normalize) for one in ids]
    used = asked.pooling or ("cls" if encoder.pooling == "first" else encoder.pooling)
    if output is not None:
        _write(output, vectors)
    if json:
        _emit(model, used, asked, zip(lines, ids, vectors, strict=True))
    else:
        print_pairs([
            ("vectors", f"{len(vectors)} of {encoder.width} numbers"),
            ("pooling", used + (", each of length 1" if asked.normalize else "")),
            ("written", output),
        ])  # fmt: skip
        _show(lines, vectors)
    return 0


def _texts(given: tuple[str, ...], file: Path | None) -> list[str]:
    """The texts of the command line, or the lines of a file that are not empty."""
    if bool(given) == (file is not None):
        found = "both were given" if given else "neither was given"
        raise UsageError(f"texts come from the command line or from --file: {found}")
    if file is None:
        return list(given)
    texts = [line for line in read_text(file, "texts").splitlines() if line.strip()]
    if not texts:
        raise UsageError(f"{file} holds no texts")
    return texts


def _check(output: Path, asked: Making) -> None:
    """Refuse, before any work, what could not be written."""
    check_output(output, [])
    if output.suffix != ".npy":
        raise UsageError(f"vectors are written to a file that ends in .npy, not {output.name!r}")
    if asked.pooling == "none":
        raise UsageError("--pooling none gives each text vectors of its own number; use --json")


def _opened(model: str, asked: Making) -> "tuple[Encoder, Tokenizer]":
    from refquant.formats import open_checkpoint
    from refquant.library import locate
    from refquant.runtime import Tokenizer, load_encoder

    path = locate(model)
    with status(f"loading {model}"):
        checkpoint = open_checkpoint(path)
        encoder = load_encoder(checkpoint, asked.weights, asked.arith)
        return encoder, Tokenizer(checkpoint.need_tokenizer())


def _write(output: Path, vectors: "list[NDArray[np.float32]]") -> None:
    import numpy as np

    from refquant.formats.rq import atomic_file

    with atomic_file(output) as file:
        np.save(file, np.stack(vectors))


def _emit(
    model: str,
    pooling: str,
    asked: Making,
    made: "Iterable[tuple[str, list[int], NDArray[np.float32]]]",
) -> None:
    """All numbers, each as the shortest decimal that gives the binary32 number back."""
    listed: list[dict[str, Any]] = [
        {"text": text, "tokens": ids, "vector": _decimals(vector)} for text, ids, vector in made
    ]
    facts = {"model": model, "pooling": pooling, "normalize": asked.normalize, "texts": listed}
    emit_json("embed", facts)


def _decimals(vector: "NDArray[np.float32]") -> list[Any]:
    if vector.ndim > 1:
        return [_decimals(row) for row in vector]
    return [float(str(number)) for number in vector]


def _show(texts: list[str], vectors: "list[NDArray[np.float32]]") -> None:
    """The beginning of each vector, and its direction beside the first one's."""
    if vectors[0].ndim > 1:
        rows = [(len(one), _start(one[0]), _cut(text))
                for text, one in zip(texts, vectors, strict=True)]  # fmt: skip
        print_table(("tokens", "first vector", "text"), rows, numeric=(0,))
        return
    wide = [one.astype("float64") for one in vectors]
    lengths = [float(one @ one) ** 0.5 for one in wide]
    print_table(
        ("cosine", "length", "vector", "text"),
        [
            (f"{wide[0] @ one / (lengths[0] * length):.4f}" if lengths[0] * length else "-",
             f"{length:.3f}", _start(one), _cut(text))
            for text, one, length in zip(texts, wide, lengths, strict=True)
        ],
        numeric=(0, 1),
    )  # fmt: skip


def _start(vector: "NDArray[np.floating]") -> str:
    shown = " ".join(f"{number:+.4f}" for number in vector[:_SHOWN])
    return f"{shown} ..." if len(vector) > _SHOWN else shown


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
