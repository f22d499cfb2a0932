"""Runs an NNEF folder of matrices in tract: `tract_linears_worker.py REQUEST.npz ANSWER.npz`.

The request names the folder and holds an input for each width under `x64` and the like; the answer
holds the outputs in the graph's order.
"""

import sys

import numpy as np
import tract


def main():
    asked = dict(np.load(sys.argv[1]))
    model = tract.nnef().load(str(asked["folder"]))
    inputs = [asked[model.input_name(index)] for index in range(model.input_count())]
    outputs = model.into_runnable().run(inputs)
    np.savez(sys.argv[2], **{f"y{index}": one.to_numpy() for index, one in enumerate(outputs)})


if __name__ == "__main__":
    main()
