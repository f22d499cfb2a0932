"""Runs models in TensorFlow Lite of 2023: `tflite_worker.py REQUEST.npz ANSWER.npz`.

The request holds the bytes `model` and an input `x`; the answer has the output `y` of the reference
kernels.
"""

import sys

import numpy as np
from tflite_runtime.interpreter import Interpreter, OpResolverType


def run(data, x):
    interpreter = Interpreter(
        model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def main():
    asked = np.load(sys.argv[1])
    np.savez(sys.argv[2], y=run(asked["model"].tobytes(), asked["x"]))


if __name__ == "__main__":
    main()
