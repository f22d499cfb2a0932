"""Run by the interpreter of the torchao oracle: modules that torchao quantized become our planes.

    python torchao_conversion.py PACKAGES

PACKAGES is the folder of the packages that refquant needs and this environment does not have.
Values are compared with torchao's own; bits of the planes with its codes and parameters.
"""

import copy
import sys

sys.path.append(sys.argv[1])

import numpy as np
import torch
import torchao.quantization as ao

from refquant.convert_torch import from_module
from refquant.layout import field_codes

ASYMMETRIC = ao.MappingType.ASYMMETRIC
GROUPS, ROWS = ao.PerGroup(32), ao.PerAxis(0)


def weight_only(dtype, granularity, **options):
    return ao.IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity, **options)


CONFIGS = {
    "torchao/int8[sym,channel]": ao.Int8WeightOnlyConfig(),
    "torchao/8da4w[sym,group=32]": ao.Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4, weight_granularity=GROUPS
    ),
    "torchao/int4[sym,group=32]": weight_only(torch.int4, GROUPS),
    "torchao/int4[asym,group=32]": weight_only(torch.int4, GROUPS, mapping_type=ASYMMETRIC),
    "torchao/int3[sym,channel]": weight_only(torch.int3, ROWS),
    "torchao/int8[asym,channel]": weight_only(torch.int8, ROWS, mapping_type=ASYMMETRIC),
}


def main():
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.Linear(64, 96))
    for dtype in (torch.float32, torch.bfloat16):
        for scheme, config in CONFIGS.items():
            module = copy.deepcopy(plain).to(dtype)
            ao.quantize_(module, config)
            for name, found in from_module(module, "ggml/q8_0").items():
                if not name.endswith("weight"):
                    continue
                weight = module.state_dict()[name]
                assert found.scheme.name == scheme, found
                codes = field_codes(found.layout, "q", found.planes["codes"], found.shape)
                assert np.array_equal(codes, weight.qdata.numpy())
                scales = found.planes["scales"].reshape(-1).view("<f4")
                assert np.array_equal(scales, weight.scale.float().numpy().reshape(-1))
                if dtype == torch.float32:
                    assert np.array_equal(found.dequantize(), weight.dequantize().numpy())
            print(f"{scheme} of {dtype}: same codes and scales")


if __name__ == "__main__":
    main()
