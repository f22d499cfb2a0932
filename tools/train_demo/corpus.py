"""Six Jane Austen novels, read from R data and cleaned into one paragraph a line.

The Debian package ``r-cran-janeaustenr`` ships the novels as an R "lazy-load" database: a
file ``Rdata.rdb`` of concatenated records, each a 4-byte big-endian size of the plain data
followed by one zlib stream.  Every record holds one serialised character vector, an element
per printed line.  This module reads the package, the database alone, or a directory of cleaned
texts (one ``<novel>.txt`` each), and gives the same cleaned text in all three cases.

A cleaned novel begins with its first chapter.  Title pages, volume headings, editors' notes,
rules of asterisks, the final "FINIS" and the underscores that mark emphasis are gone; each
paragraph (or line of verse) is one line; chapter headings are uniform ("Chapter 12").
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import struct
import tarfile
import zlib
from pathlib import Path

NOVELS = (
    "emma",
    "mansfield_park",
    "northanger_abbey",
    "persuasion",
    "pride_and_prejudice",
    "sense_and_sensibility",
)
"""The novels in the order in which the R database stores them."""

DIGESTS = {
    "emma": "b5f2fafd3f77185ecc9a8d551d64ea7169d841cc9193a7b72d4994f68f7f945c",
    "mansfield_park": "49551eb343eea2d553b187a92889d68abe0b089ab7121b2cad8847290c981cc3",
    "northanger_abbey": "54597bf454c705db4f0332ee41ea76888d5665684c0c20b1419a9150c7475588",
    "persuasion": "ee786b6302fa40b5d12b360ee93737619b105f8f328045f808436dc18ca35dc3",
    "pride_and_prejudice": "3218228be4a8f8b68aa635a27d670f50b4752defe55065a4faacce08c54de6d0",
    "sense_and_sensibility": "173acd0dc1633c6244128c3b61c1e6502ee515b9216022497a79c2cdb9f0ad4f",
}
"""SHA-256 of each cleaned novel, encoded as UTF-8."""

AR_MAGIC = b"!<arch>\n"
R_HEADER = struct.Struct(">2s3i")
R_NATIVE_ENCODING_VERSION = 3
R_CHARSXP = 9
R_STRSXP = 16

CHAPTER = re.compile(r"chapter (\d+|[ivxl]+)\.?", re.IGNORECASE)
NOISE = re.compile(
    r"VOLUME [IVX]+|FINIS|THE END|[* ]+|[\[(](End (of )?volume|At this point).*[\])]|\*Vide .*",
    re.IGNORECASE,
)
EDITORIAL_APPENDIX = "A NOTE ON THE TEXT"
ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50}


def database_of_package(package: bytes) -> bytes:
    """The bytes of ``Rdata.rdb`` inside a Debian package (an ``ar`` archive with a tarball)."""
    if not package.startswith(AR_MAGIC):
        raise ValueError("not a Debian package: the ar magic is missing")
    position = len(AR_MAGIC)
    while position < len(package):
        header = package[position : position + 60]
        name, size = header[:16].decode().strip(), int(header[48:58])
        position += 60
        if name.startswith("data.tar"):
            content = io.BytesIO(package[position : position + size])
            with tarfile.open(fileobj=content) as tar:
                for member in tar:
                    stream = tar.extractfile(member) if member.isfile() else None
                    if stream and member.name.endswith("/data/Rdata.rdb"):
                        return stream.read()
        position += size + size % 2
    raise ValueError("the package holds no Rdata.rdb")


def database_records(database: bytes) -> list[bytes]:
    """The plain records of an R lazy-load database, each checked against its stated size."""
    records, position = [], 0
    while position < len(database):
        (size,) = struct.unpack_from(">i", database, position)
        inflater = zlib.decompressobj()
        record = inflater.decompress(database[position + 4 :])
        if len(record) != size or not inflater.eof:
            raise ValueError(f"record at byte {position}: {len(record)} bytes, not {size}")
        records.append(record)
        position = len(database) - len(inflater.unused_data)
    return records


def character_vector(record: bytes) -> list[str]:
    """The strings of a serialised R character vector (XDR format, version 2 or 3)."""
    magic, version, _, _ = R_HEADER.unpack_from(record)
    if magic != b"X\n":
        raise ValueError("not R data in XDR form")
    position = R_HEADER.size
    if version >= R_NATIVE_ENCODING_VERSION:
        position += 4 + struct.unpack_from(">i", record, position)[0]
    flags, count = struct.unpack_from(">ii", record, position)
    if flags & 0xFF != R_STRSXP:
        raise ValueError(f"R type {flags & 0xFF} is not a character vector")
    position += 8
    strings = []
    for _ in range(count):
        flags, size = struct.unpack_from(">ii", record, position)
        if flags & 0xFF != R_CHARSXP or size < 0:
            raise ValueError(f"byte {position}: not a string")
        position += 8
        strings.append(record[position : position + size].decode("utf-8"))
        position += size
    return strings


def chapter_number(numeral: str) -> int:
    """The value of an Arabic or Roman chapter numeral."""
    if numeral.isdecimal():
        return int(numeral)
    values = [ROMAN[letter] for letter in numeral.lower()]
    return sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )


def paragraph(lines: list[str]) -> str:
    """Join hard-wrapped lines; an indented line (verse, a signature) stays a line of its own."""
    joined = ""
    for line in lines:
        if joined:
            joined += "\n" if line.startswith(" ") else " "
        joined += " ".join(line.replace("_", "").split())
    return joined


def blocks(lines: list[str]) -> list[list[str]]:
    """Runs of non-blank lines."""
    text = "\n".join(line.rstrip() for line in lines)
    return [block.split("\n") for block in re.split(r"\n\n+", text.strip("\n"))]


def clean_novel(lines: list[str]) -> str:
    """The cleaned text of a novel, from its first chapter heading to its last sentence."""
    kept: list[str] = []
    for block in blocks(lines):
        text = paragraph(block)
        heading = CHAPTER.fullmatch(text)
        if heading:
            kept.append(f"Chapter {chapter_number(heading[1])}")
        elif text == EDITORIAL_APPENDIX:
            break
        elif kept and not NOISE.fullmatch(text.replace("\n", " ")):
            kept.append(text)
    return "\n".join(kept) + "\n"


def sha256(text: str) -> str:
    """The SHA-256 digest of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def read_corpus(source: Path) -> dict[str, str]:
    """The cleaned novels by name, from a package, a database or a directory of cleaned texts.

    Raises ValueError where a novel's digest is not the known one.
    """
    if source.is_dir():
        novels = {name: (source / f"{name}.txt").read_text("utf-8") for name in NOVELS}
    else:
        content = source.read_bytes()
        database = database_of_package(content) if source.suffix == ".deb" else content
        vectors = map(character_vector, database_records(database))
        novels = dict(zip(NOVELS, map(clean_novel, vectors), strict=True))
    for name, text in novels.items():
        if sha256(text) != DIGESTS[name]:
            raise ValueError(f"{name}: digest {sha256(text)} is not the known one")
    return novels


def main() -> None:
    """Write the cleaned novels to a directory and print their digests."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("source", type=Path, help="the .deb, its Rdata.rdb, or cleaned texts")
    parser.add_argument("target", type=Path, help="directory for <novel>.txt")
    arguments = parser.parse_args()
    arguments.target.mkdir(parents=True, exist_ok=True)
    for name, text in read_corpus(arguments.source).items():
        (arguments.target / f"{name}.txt").write_text(text, "utf-8", newline="\n")
        print(f"{sha256(text)}  {name}  {len(text.encode('utf-8'))} bytes")


if __name__ == "__main__":
    main()
