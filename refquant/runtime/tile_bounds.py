"""Where a matrix is cut into tiles of rows, so that several processes can share them."""

__all__ = ["tile_bounds"]


def tile_bounds(outputs: int, inputs: int, weights: int) -> tuple[int, ...]:
    """Where tiles of at most so many weights begin, and the end.

    The second half of the outputs is cut as the first is, so that two processes have equal work
    and so that gate and up, stacked, have tiles of the same columns. Each but the last of a half
    holds a multiple of 16 outputs, as many as fill the registers of today's processors.
    """
    half = -(-outputs // 32) * 16
    count = max(-(-half * inputs // weights), 1)
    step = -(-half // (16 * count)) * 16
    starts = range(0, half, step)
    again = (half + start for start in starts if half + start < outputs)
    return (*starts, *again, outputs)
