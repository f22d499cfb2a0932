"""`--logit-bias TOKEN=NUMBER`: which token is meant, and what is added to its logit."""

from typing import TYPE_CHECKING

from refquant.errors import UsageError

if TYPE_CHECKING:
    from refquant.runtime import Tokenizer

__all__ = ["read_biases"]


def read_biases(tokenizer: "Tokenizer", biases: tuple[str, ...]) -> tuple[tuple[int, float], ...]:
    """Ids and numbers of `TOKEN=NUMBER`."""
    found = []
    for one in biases:
        token, _, number = one.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            token = ""
            value = 0.0
        if not token:
            raise UsageError(f"--logit-bias {one!r}: expected TOKEN=NUMBER")
        is_id = token.isascii() and token.isdecimal()
        ids = [int(token)] if is_id else tokenizer.encode(token, add_bos=False)
        if len(ids) != 1 or ids[0] >= tokenizer.vocabulary:
            what = f"is {len(ids)} tokens, {ids}" if len(ids) != 1 else "is no id of this model"
            raise UsageError(f"--logit-bias {one!r}: {token!r} {what}")
        found.append((ids[0], value))
    return tuple(found)
