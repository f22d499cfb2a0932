"""Files whose only defect is a code of no weight that is not 0."""

from conformance.container.byte_defects import DEFECTS
from conformance.container.layout_defects import TABLED, TURNED
from conformance.container.layout_files import AWQ, FIVES, VECTORS
from conformance.container.parts import assemble, build

__all__ = ["DEFECTS"]


def edge_defect(name, layout, shape, **planes):
    """Register a file of zeros but for the bytes of `planes`, by their places."""

    def make():
        data = {}
        for plane, (size, patches) in planes.items():
            found = bytearray(size)
            for place, byte in patches.items():
                found[place] = byte
            data[plane] = bytes(found)
        return build(assemble([("w", layout, shape, data)]))

    DEFECTS[name] = ("E_CODE_EDGE", "touch", make)


edge_defect("code_beyond_the_last_axis", TABLED, [2, 3], codes=(4, {3: 0x10}))
edge_defect("code_beyond_a_turned_edge", TURNED, [2, 9], codes=(16, {12: 0x10}))
edge_defect("code_beyond_the_first_axis", AWQ, [9, 4], codes=(32, {4 + 2: 0x01}), scale=(18, {}))
VECTORS_TOO_FEW = {**VECTORS, "tables": {"t": bytes(4 * 12)}}
DEFECTS["layout_table_of_too_few_vectors"] = (
    "E_DESC_TABLE",
    "open",
    lambda: build(assemble([("w", VECTORS_TOO_FEW, [8], {"codes": bytes(1)})])),
)
# Code 48 of 50, where 48 are needed: digit 4 of byte 8, worth 1 of 243.
edge_defect("digit_to_spare", FIVES, [4, 12], codes=(13, {8: 2}))
# Code 11 of the second record, whose twelfth column is outside: digit 1 of byte 1, worth 27.
edge_defect("digit_beyond_the_last_axis", FIVES, [4, 23], codes=(26, {13 + 1: 29}))
