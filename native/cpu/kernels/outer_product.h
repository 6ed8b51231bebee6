// The core of conv2dWeightGradient and matmul with a transposed left operand: sums of outer products over pixels,
//   output[tap, i, o] = sum over images and output pixels p of x[pixel(p, tap), i] * dy[p, o], plus bias[o].
#pragma once

#include "pixel_grid.h"

namespace langevin {
namespace LANGEVIN_ISA {

struct OuterProduct {
  int64_t images, inputs, outputs;
  Window y, x;
  Pixels source, gradient;
  float* output;  // [kernel y, kernel x, inputs] rows of outputs
  int64_t outputRow;
  const float* bias;  // or null
};

// Pixels are cut into chunks by shape; each sum is a chain of fused multiply-adds within its chunk, and the chunks' sums
// are added as a binary tree.
void outerProduct(const OuterProduct& g, Context& context);

}  // namespace LANGEVIN_ISA
}  // namespace langevin
