"""How a `.rq` file is laid out, as options of every command that writes one."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from cyclopts import Parameter

from refquant.cli.destination import parse_bytes

__all__ = ["FileForm"]


class WriterArguments(TypedDict):
    """What the writers of `.rq` files are told of the form."""

    compression: Literal["zstd"] | None
    shard_size: int | None


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class FileForm:
    """Whether a `.rq` file is compressed, and split."""

    compression: Annotated[
        Literal["none", "zstd"], Parameter(help="Store segments of .rq as zstd frames if smaller.")
    ] = "none"
    shard_size: Annotated[
        str | None,
        Parameter(help="Split .rq between tensors into files of at most this size, such as 2GB."),
    ] = None

    @property
    def arguments(self) -> WriterArguments:
        """The same for a writer."""
        size = self.shard_size
        return {
            "compression": None if self.compression == "none" else self.compression,
            "shard_size": None if size is None else parse_bytes(size, "--shard-size"),
        }
