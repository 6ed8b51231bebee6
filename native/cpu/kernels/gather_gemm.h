// The core of conv2d, convTranspose2d and matmul: products of gathered source pixels with weights,
//   output[p, o] = sum over taps, c of source[pixel(p, tap), c] * weight[tap, c, o], plus bias[o].
#pragma once

#include "pixel_grid.h"

namespace langevin {
namespace LANGEVIN_ISA {

// The weight of tap (y, x), channel c and output o is data[y * tapY + x * tapX + c * channel + o * output].
struct Weights {
  const float* data;
  int64_t tapY, tapX, channel, output;
};

// Where the operands of one of several products lie, in elements from those of the first.
struct ProductOffsets {
  int64_t source, weight, output;
};

struct GatherGemm {
  int64_t images, channels, outputs;
  int64_t kernelY, kernelX;
  Axis y, x;  // classes of output pixels
  Pixels source, output;
  Weights weight;
  const float* bias;  // or null
  // Several products of this geometry with operands of their own; null: one.
  const ProductOffsets* offsets = nullptr;
  int64_t products = 1;
};

// Every output is one chain of fused multiply-adds from zero over the taps inside the source, in ascending order of the
// source, and over the channels; with few outputs it is kWidth such chains (channel modulo kWidth) summed as a tree. That
// depends on channels, outputs and taps only, so neither on the batch nor on how pixels and products are dealt out.
void gatherGemm(const GatherGemm& g, Context& context);

}  // namespace LANGEVIN_ISA
}  // namespace langevin
