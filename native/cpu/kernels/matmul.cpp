// matmul: a convolution of one tap over M pixels, or, with `a` transposed, a weight gradient over K pixels.
#include "gather_gemm.h"
#include "lanes.h"
#include "outer_product.h"

namespace langevin {
namespace LANGEVIN_ISA {

namespace {

// A matrix as one image with one pixel a row.
Pixels pixelsOf(float* data, int64_t pitch) { return {data, 0, pitch, 0}; }

// y = x weight + bias; weight element (k, n) at data + k * channel + n * output.
void product(const Pixels& x, int64_t depth, const Weights& weight, const float* bias, const Operand& y,
             Context& context) {
  GatherGemm g;
  g.images = 1, g.channels = depth, g.outputs = y.dim(1);
  g.kernelY = g.kernelX = 1;
  g.y = identityAxis(y.dim(0), context), g.x = identityAxis(1, context);
  g.source = x, g.output = pixelsOf(y.as<float>(), y.pitch);
  g.weight = weight, g.bias = bias;
  gatherGemm(g, context);
}

// y = a^T b + bias.
void transposedProduct(const Operand& a, const Operand& b, const float* bias, const Operand& y, Context& context) {
  OuterProduct g;
  g.images = 1, g.inputs = a.dim(1), g.outputs = b.dim(1);
  g.y = {a.dim(0), a.dim(0), 1, 1, 0, 1};
  g.x = {1, 1, 1, 1, 0, 1};
  g.source = pixelsOf(a.as<float>(), a.pitch), g.gradient = pixelsOf(b.as<float>(), b.pitch);
  g.output = y.as<float>(), g.outputRow = y.pitch;
  g.bias = bias;
  outerProduct(g, context);
}

// a^T in scratch.
Operand transposed(const Operand& a, Context& context) {
  const int64_t rows = a.dim(0), cols = a.dim(1), pitch = rows + 16 - rows % 16;
  const float* const from = a.as<float>();
  float* const to = context.scratch(cols * pitch);
  context.parallelFor(ceilDivide(cols, kWidth), [=](int64_t item) {
    const int64_t c = item * kWidth, width = least(kWidth, cols - c);
    for (int64_t r = 0; r < rows; r += kWidth) {
      const int64_t height = least(kWidth, rows - r);
      V block[kWidth];
      for (int i = 0; i < kWidth; i++)
        block[i] = i < height ? loadPartial(from + (r + i) * a.pitch + c, width) : zero();
      transposeBlock(block);
      for (int64_t i = 0; i < width; i++) storePartial(to + (c + i) * pitch + r, block[i], height);
    }
  });
  Operand t = a;
  t.data = to;
  t.shape[0] = cols, t.shape[1] = rows;
  t.pitch = pitch;
  return t;
}

// Rows a power of two apart compete for the same few cache lines: copies such a matrix to rows with a gap, where `uses`
// (how often each element is multiplied) makes that worth while.
Operand spread(const Operand& a, int64_t uses, Context& context) {
  constexpr int64_t alias = 512, gap = 16, fewUses = 128;
  const int64_t rows = a.dim(0), cols = a.dim(1);
  if (a.pitch % alias != 0 || uses < fewUses || rows < kWidth || cols == 0) return a;
  Operand copy = a;
  copy.pitch = cols + gap;
  float* const to = context.scratch(rows * copy.pitch);
  copy.data = to;
  constexpr int64_t elementsPerItem = 1 << 15;
  const int64_t rowsPerItem = most(1, elementsPerItem / cols);
  context.parallelFor(ceilDivide(rows, rowsPerItem), [=](int64_t item) {
    for (int64_t r = item * rowsPerItem; r < least(rows, (item + 1) * rowsPerItem); r++)
      __builtin_memcpy(to + r * copy.pitch, a.as<float>() + r * a.pitch, cols * sizeof(float));
  });
  return copy;
}

void matmul(Command& command, Context& context) {
  const bool transposeA = command.attributes.b(), transposeB = command.attributes.b();
  const Operand &a = command.inputs[0], &b = command.inputs[1], &y = command.output;
  if (y.size() == 0) return;
  const float* const bias = command.has(2) ? command.inputs[2].as<float>() : nullptr;
  if (transposeA && !transposeB)
    return transposedProduct(spread(a, y.dim(1), context), spread(b, y.dim(0), context), bias, y, context);
  const int64_t depth = a.dim(transposeA ? 0 : 1);
  const Operand rows = transposeA ? transposed(a, context) : spread(a, y.dim(1), context);
  const Pixels x = pixelsOf(rows.as<float>(), rows.pitch);
  const Weights weight = transposeB ? Weights{b.as<float>(), 0, 0, 1, b.pitch} : Weights{b.as<float>(), 0, 0, b.pitch, 1};
  product(x, depth, weight, bias, y, context);
}

}  // namespace

LANGEVIN_KERNEL("matmul", "transposeA:bool,transposeB:bool", matmul)

}  // namespace LANGEVIN_ISA
}  // namespace langevin
