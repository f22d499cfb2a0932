"""torch-to-nnef's percentiles, and its tensors behind chains of compressors."""

import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.layout import field_codes
from refquant.schemes.t2n.compressors import BitPacking, Deflate, compress, decompress
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "t2n_chain_worker.py"
PERCENTILES = [1, 10, 37, 50, 75, 90, 95, 99, 100]
CHAINS = {
    "none": [],
    "pairs": [BitPacking(4)],
    "deflated": [Deflate()],
    "both": [BitPacking(4), Deflate()],
}


@pytest.fixture(scope="module")
def package(oracle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("t2n_chain")
    drawn = [x.reshape(-1, 1024) for _, x in weights(320, finite=True)]
    x = np.concatenate([part for part in drawn if np.abs(part).max() < 1e5])
    np.savez(folder / "request.npz", x=x, percentiles=PERCENTILES)
    command = [oracle("t2n"), WORKER, folder / "request.npz", folder / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(folder / "answer.npz") as found:
        return x, dict(found)


@pytest.mark.parametrize("percentile", PERCENTILES)
def test_blocks_under_percentiles(percentile, package, compared):
    x, theirs = package
    blocks = refquant.quantize(x, f"t2n/q40[percentile={percentile}]").planes["blocks"]
    compared.encoded(
        "t2n/q40", "torch_to_nnef 0.24.12", x.size, {"blocks": (blocks, theirs[f"p{percentile}"])}
    )
    assert blocks.tobytes() == theirs[f"p{percentile}"].tobytes()


@pytest.mark.parametrize("name", CHAINS)
def test_chains_keep_the_bytes_of_the_package(name, package):
    x, theirs = package
    tensor = refquant.quantize(x, "t2n/q40")
    codes = field_codes(tensor.layout, "q", tensor.planes["blocks"], tensor.shape)
    codes = codes.astype(np.uint8)
    kept, sizes = compress(codes, CHAINS[name])
    stored = theirs[f"{name} stored"].reshape(-1)
    if "deflated" in name or name == "both":
        # The stream's bytes are the library's; what both hold is the same.
        assert zlib.decompress(kept.tobytes()) == zlib.decompress(stored.tobytes())
    else:
        assert kept.tobytes() == stored.tobytes()
    assert decompress(stored, CHAINS[name], sizes).tobytes() == codes.tobytes()
    assert codes.tobytes() == theirs[f"{name} codes"].tobytes()
    assert np.array_equal(tensor.dequantize(), theirs[f"{name} values"])
