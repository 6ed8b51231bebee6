// matmul: a convolution of one tap over M pixels, or, with a single `a` transposed, a weight gradient over K pixels.
#include "gather_gemm.h"
#include "iterate.h"
#include "lanes.h"
#include "outer_product.h"

namespace langevin {
namespace LANGEVIN_ISA {

namespace {

// A matrix as one image with one pixel a row.
Pixels pixelsOf(float* data, int64_t pitch) { return {data, 0, pitch, 0}; }

// y = x weight + bias for x of M rows; weight element (k, n) at data + k * channel + n * output.
GatherGemm product(const Operand& x, int64_t rows, const Weights& weight, const float* bias, const Operand& y,
                   Context& context) {
  GatherGemm g;
  g.images = 1, g.channels = x.cols(), g.outputs = y.cols();
  g.kernelY = g.kernelX = 1;
  g.y = identityAxis(rows, context), g.x = identityAxis(1, context);
  g.source = pixelsOf(x.as<float>(), x.pitch), g.output = pixelsOf(y.as<float>(), y.pitch);
  g.weight = weight, g.bias = bias;
  return g;
}

// For each matrix of y, where it and the matrices that are broadcast to it lie.
const ProductOffsets* offsetsOf(const Operand& a, const Operand& b, const Operand& y, int64_t products, Context& context) {
  ProductOffsets* const offsets =
      reinterpret_cast<ProductOffsets*>(context.scratch(products * static_cast<int64_t>(sizeof(ProductOffsets)) / 4));
  // Matrices are the rows of this nest, whose last axis nobody looks at.
  Nest<2> nest;
  int64_t strides[2][kMaxRank];
  broadcastStrides(a, y.rank, strides[0]), broadcastStrides(b, y.rank, strides[1]);
  nest.rank = y.rank - 1;
  for (int i = 0; i < y.rank - 2; i++) {
    nest.shape[i] = y.shape[i];
    for (int k = 0; k < 2; k++) nest.stride[k][i] = strides[k][i];
  }
  for (int64_t p = 0; p < products; p++)
    offsets[p] = {nest.rowOffset(0, p), nest.rowOffset(1, p), p * y.dim(-2) * y.pitch};
  return offsets;
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

// The matrices of a, each transposed, in scratch.
Operand transposed(const Operand& a, Context& context) {
  const int64_t rows = a.dim(-2), cols = a.dim(-1), pitch = rows + 16 - rows % 16;
  const int64_t matrices = rows == 0 ? 0 : a.rows() / rows, blocks = ceilDivide(cols, kWidth);
  float* const to = context.scratch(most(1, matrices * cols * pitch));
  const int64_t blocksPerItem = most(1, kChunk / most(1, rows * kWidth));
  const auto transposeColumns = [=](int64_t block) {
    const float* const source = a.as<float>() + block / blocks * rows * a.pitch;
    float* const target = to + block / blocks * cols * pitch;
    const int64_t c = block % blocks * kWidth, width = least(kWidth, cols - c);
    for (int64_t r = 0; r < rows; r += kWidth) {
      const int64_t height = least(kWidth, rows - r);
      V v[kWidth];
      for (int i = 0; i < kWidth; i++) v[i] = i < height ? loadPartial(source + (r + i) * a.pitch + c, width) : zero();
      transposeBlock(v);
      for (int64_t i = 0; i < width; i++) storePartial(target + (c + i) * pitch + r, v[i], height);
    }
  };
  context.parallelFor(ceilDivide(matrices * blocks, blocksPerItem), [=](int64_t item) {
    const int64_t end = least(matrices * blocks, (item + 1) * blocksPerItem);
    for (int64_t block = item * blocksPerItem; block < end; block++) transposeColumns(block);
  });
  Operand t = a;
  t.data = to;
  t.shape[t.rank - 2] = cols, t.shape[t.rank - 1] = rows;
  t.pitch = pitch;
  return t;
}

// Rows a power of two apart compete for the same few cache lines: copies such matrices to rows with a gap, where `uses`
// (how often each element is multiplied) makes that worth while.
Operand spread(const Operand& a, int64_t uses, Context& context) {
  constexpr int64_t alias = 512, gap = 16, fewUses = 128;
  const int64_t rows = a.rows(), cols = a.cols();
  if (a.pitch % alias != 0 || uses < fewUses || a.dim(-2) < kWidth || cols == 0) return a;
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
  if (!expectDType(command, context, DType::f32)) return;
  const bool transposeA = command.attributes.b(), transposeB = command.attributes.b();
  const Operand &a = command.inputs[0], &b = command.inputs[1], &y = command.output;
  if (y.size() == 0) return;
  const float* const bias = command.has(2) ? command.inputs[2].as<float>() : nullptr;
  if (transposeA && !transposeB && y.rank == 2)
    return transposedProduct(spread(a, y.cols(), context), spread(b, y.dim(0), context), bias, y, context);
  const Operand x = transposeA ? transposed(a, context) : spread(a, y.cols(), context);
  const Weights weight = transposeB ? Weights{b.as<float>(), 0, 0, 1, b.pitch} : Weights{b.as<float>(), 0, 0, b.pitch, 1};
  // One matrix b for all matrices of a: these are one, of all their rows.
  if (b.rows() == b.dim(-2)) return gatherGemm(product(x, y.rows(), weight, bias, y, context), context);
  GatherGemm g = product(x, y.dim(-2), weight, bias, y, context);
  g.products = y.rows() / y.dim(-2);
  g.offsets = offsetsOf(x, b, y, g.products, context);
  gatherGemm(g, context);
}

}  // namespace

LANGEVIN_KERNEL("matmul", "transposeA:bool,transposeB:bool", matmul)

}  // namespace LANGEVIN_ISA
}  // namespace langevin
