// quantile: elements of a given rank along the last axis, found byte by byte of their bits, without sorting.
#include "iterate.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

// The bits of a float as a number that is ordered as floats are.
LANGEVIN_INLINE uint32_t orderOf(Word bits) { return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u); }
LANGEVIN_INLINE Word bitsOf(uint32_t order) { return order ^ (order >> 31 ? 0x80000000u : 0xffffffffu); }

// Of n elements the one that `rank` others are sorted before.
LANGEVIN_SIMD float elementOf(const Word* x, int64_t n, int64_t rank) {
  uint32_t found = 0, known = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    int64_t counts[256] = {};
    for (int64_t i = 0; i < n; i++) {
      const uint32_t order = orderOf(x[i]);
      if ((order & known) == found) counts[order >> shift & 255]++;
    }
    uint32_t byte = 0;
    while (rank >= counts[byte]) rank -= counts[byte++];
    found |= byte << shift;
    known |= 255u << shift;
  }
  const Word bits = bitsOf(found);
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

LANGEVIN_SIMD float valueAt(const float* x, int64_t n, double place) {
  for (int64_t i = 0; i < n; i++)
    if (x[i] != x[i]) return x[i];
  const int64_t rank = static_cast<int64_t>(place);
  const Word* const words = reinterpret_cast<const Word*>(x);
  const double below = elementOf(words, n, rank), share = place - static_cast<double>(rank);
  if (share == 0) return static_cast<float>(below);
  const double above = elementOf(words, n, rank + 1);
  return static_cast<float>(below + share * (above - below));
}

void quantile(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &y = command.output;
  const double place = command.attributes.f() * static_cast<double>(x.cols() - 1);
  context.parallelFor(x.rows(), [&](int64_t row) {
    const float value = valueAt(x.as<const float>() + row * x.pitch, x.cols(), place);
    y.as<float>()[row / y.cols() * y.pitch + row % y.cols()] = value;
  });
}

LANGEVIN_KERNEL("quantile", "q:float", quantile)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
