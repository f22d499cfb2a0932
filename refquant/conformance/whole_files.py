"""Small files that a command leaves behind: whole or not at all, and named where they cannot be."""

from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that an end half-way leaves what was there; devices and pipes as they are.

    Raises OSError with the path's name.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        from refquant.formats.rq import atomic_file  # noqa: PLC0415 - slow, and seldom needed

        with atomic_file(path) as file:
            file.write(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
