"""What is done to weights before their codes are chosen: rotations that spread outliers.

Scales that an algorithm chooses belong to a scheme's contract and are knobs of its name, as in
`aeq/int4[block=32,algorithm=octav]`. What changes the weights themselves, and so what the runtime
must undo or do to activations too, stands here.
"""

from refquant.calibrate.hadamard import hadamard_matrix, hadamard_size, rotated

__all__ = ["hadamard_matrix", "hadamard_size", "rotated"]
