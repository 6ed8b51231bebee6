// embedding: rows of a table picked by index; embeddingGradient: rows of dy added up into a dense table.
#include "../simd.h"
#include "window.h"

namespace langevin {
namespace LANGEVIN_ISA {

namespace {

// Element i of an int32 operand of any shape.
LANGEVIN_SIMD int64_t indexAt(const Operand& index, int64_t i) {
  const int64_t cols = index.cols();
  return index.as<int32_t>()[i / cols * index.pitch + i % cols];
}

constexpr int64_t kElementsPerItem = 1 << 14;

bool expectTypes(const Operand& index, const Operand& from, const Operand& to, Context& context) {
  const bool good = index.dtype == DType::i32 && from.dtype == DType::f32 && to.dtype == DType::f32;
  if (!good) context.fail("expected float32 operands and an int32 index");
  return good;
}

void embedding(Command& command, Context& context) {
  const Operand &table = command.inputs[0], &index = command.inputs[1], &y = command.output;
  if (!expectTypes(index, table, y, context)) return;
  const int64_t n = index.size(), width = table.dim(1);
  if (n * width == 0) return;
  const int64_t rowsPerItem = most(1, kElementsPerItem / width);
  context.parallelFor(ceilDivide(n, rowsPerItem), [&](int64_t item) {
    for (int64_t i = item * rowsPerItem; i < least(n, (item + 1) * rowsPerItem); i++) {
      const int64_t row = indexAt(index, i);
      float* const to = y.as<float>() + i * y.pitch;
      if (row >= 0 && row < table.dim(0)) {
        __builtin_memcpy(to, table.as<float>() + row * table.pitch, width * sizeof(float));
      } else {
        for (int64_t c = 0; c < width; c++) to[c] = __builtin_nanf("");
      }
    }
  });
}

// Every item goes through all indexes in their order, so repeated ones add up in a fixed order.
void embeddingGradient(Command& command, Context& context) {
  const Operand &index = command.inputs[0], &dy = command.inputs[1], &table = command.output;
  if (!expectTypes(index, dy, table, context)) return;
  const int64_t n = index.size(), rows = table.dim(0), width = table.dim(1);
  if (rows * width == 0) return;
  const int64_t wanted = (rows + n) * width / kElementsPerItem;
  const int64_t blocks = most(1, least(ceilDivide(width, 4 * kWidth), wanted));
  context.parallelFor(blocks, [&](int64_t block) {
    const int64_t begin = width * block / blocks, columns = width * (block + 1) / blocks - begin;
    float* const to = table.as<float>() + begin;
    for (int64_t r = 0; r < rows; r++) __builtin_memset(to + r * table.pitch, 0, columns * sizeof(float));
    for (int64_t i = 0; i < n; i++) {
      const int64_t row = indexAt(index, i);
      if (row < 0 || row >= rows) continue;
      const float* const from = dy.as<float>() + i * dy.pitch + begin;
      float* const sum = to + row * table.pitch;
      for (int64_t c = 0; c < columns; c++) sum[c] += from[c];
    }
  });
}

}  // namespace

LANGEVIN_KERNEL("embedding", "", embedding)
LANGEVIN_KERNEL("embeddingGradient", "rows:int", embeddingGradient)

}  // namespace LANGEVIN_ISA
}  // namespace langevin
