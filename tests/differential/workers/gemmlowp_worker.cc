// Products of int32 numbers with fixed-point multipliers by gemmlowp's own functions, in the order
// in which LiteRT's kernels built with double rounding call them. Standard input: triples of int32
// (accumulator, multiplier, shift); standard output: one int32 for each.

#include <cstdint>
#include <cstdio>

#include <gemmlowp/fixedpoint/fixedpoint.h>

int main() {
  std::int32_t triple[3];
  while (std::fread(triple, sizeof triple, 1, stdin) == 1) {
    const int left = triple[2] > 0 ? triple[2] : 0;
    const int right = triple[2] > 0 ? 0 : -triple[2];
    const std::int32_t shifted = triple[0] * (1 << left);
    const std::int32_t high = gemmlowp::SaturatingRoundingDoublingHighMul(shifted, triple[1]);
    const std::int32_t code = gemmlowp::RoundingDivideByPOT(high, right);
    std::fwrite(&code, sizeof code, 1, stdout);
  }
}
