"""A text's mean vector by transformers' BertModel, with bounds on a float32 evaluation.

    python encoder_worker.py FOLDER IDS.json ANSWER.npz

Runs in the environment of the `torch` oracle. FOLDER is a model's directory, IDS one text's token
ids. ANSWER gets `exact` f64[d], `theirs` f32[d], and `bound` f64[d], the probable bound of
`rounding_marks.py`, which holds for both sides because BERT rotates nothing.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from rounding_marks import Marks


def mean_vector(model, ids):
    """The mean over a text's tokens of the last layer's states."""
    return model(input_ids=ids[None]).last_hidden_state[0].mean(0)


def main():
    """Read, compute twice, write."""
    torch.set_num_threads(1)
    folder, asked, answer = sys.argv[1:]
    ids = torch.tensor(json.loads(Path(asked).read_text()))
    model = transformers.BertModel.from_pretrained(
        folder, attn_implementation="eager", add_pooling_layer=False, dtype=torch.float32
    ).eval()
    model.requires_grad_(False)
    theirs = mean_vector(model, ids)
    model, marks = model.double(), Marks()
    with marks:
        exact = mean_vector(model, ids)
    bound = marks.probable(exact)
    np.savez(answer, theirs=theirs.numpy(), exact=exact.detach().numpy(), bound=bound.numpy())


if __name__ == "__main__":
    main()
