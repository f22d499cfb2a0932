"""Byte-pair encoding of bytes in plain Python: the pair of least rank first, leftmost first."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

__all__ = ["encode"]

Pair = tuple[bytes, bytes]


def encode(text: bytes, merges: Sequence[Pair], ids: Mapping[bytes, int]) -> list[int]:
    """The ids of a text: its bytes, joined by rank until no pair has one."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    pieces = [text[k : k + 1] for k in range(len(text))]
    while True:
        pairs = [ranks.get((a, b), len(ranks)) for a, b in pairwise(pieces)]
        least = min(pairs, default=len(ranks))
        if least == len(ranks):
            return [ids[piece] for piece in pieces]
        joined: list[bytes] = []
        place = 0
        while place < len(pieces):
            if place < len(pairs) and pairs[place] == least:
                joined.append(pieces[place] + pieces[place + 1])
                place += 2
            else:
                joined.append(pieces[place])
                place += 1
        pieces = joined
