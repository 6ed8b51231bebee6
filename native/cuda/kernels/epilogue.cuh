// What becomes of a sum before it is stored: a bias, and the element-wise commands that follow on the product.
#pragma once

#include "../divider.h"
#include "../launch.h"
#include "activation.cuh"

namespace langevin {
namespace cuda {

// An element-wise command, applied to what its predecessor gives.
struct Tail {
  enum class Kind { add, relu, silu, reluGradient, siluGradient };
  Kind kind;
  const float* other;  // the second operand, of all but activations: for each `rows` rows of the result one of its own
  int64_t pitch;
  Divider rows;
};

constexpr int kMostTails = 3;

// y = tails(sum + bias).
struct Epilogue {
  float* y;
  int64_t pitch;
  const float* bias;  // [n]; null: none
  bool vectors;       // rows of y are aligned to 16 bytes
  int tailCount;
  Tail tails[kMostTails];
};

// The epilogue of a product whose result is `y`, and of those commands that follow on it; takes these. `bias` may be null.
Epilogue epilogueOf(const Operand& y, const Operand* bias, Launch& launch);

// Sums as they are, to dense memory with this many columns.
Epilogue plainEpilogue(void* sums, int columns);

__device__ __forceinline__ float withTail(Tail::Kind kind, float x, float other) {
  switch (kind) {
    case Tail::Kind::add: return x + other;
    case Tail::Kind::relu: return Relu{}(x);
    case Tail::Kind::silu: return Silu{}(x);
    case Tail::Kind::reluGradient: return ReluGradient{}(other, x);
    case Tail::Kind::siluGradient: return SiluGradient{}(other, x);
  }
  return x;
}

// Stores a run of adjacent outputs of one row, from column n on.
template <int count>
__device__ __forceinline__ void storeRun(const Epilogue& e, int64_t row, int n, int columns, const float (&sums)[count]) {
  float values[count];
  GPU_UNROLL
  for (int i = 0; i < count; i++) values[i] = e.bias != nullptr && n + i < columns ? sums[i] + e.bias[n + i] : sums[i];
  GPU_NO_UNROLL
  for (int t = 0; t < e.tailCount; t++) {
    const Tail& tail = e.tails[t];
    const float* const other = tail.other == nullptr ? nullptr : tail.other + tail.rows.quotient(static_cast<int>(row)) * tail.pitch + n;
    GPU_UNROLL
    for (int i = 0; i < count; i++)
      values[i] = withTail(tail.kind, values[i], other != nullptr && n + i < columns ? other[i] : 0.0f);
  }
  float* const to = e.y + row * e.pitch + n;
  if (e.vectors && n + count <= columns) {
    if constexpr (count == 4) *reinterpret_cast<float4*>(to) = float4{values[0], values[1], values[2], values[3]};
    if constexpr (count == 2) *reinterpret_cast<float2*>(to) = float2{values[0], values[1]};
    if constexpr (count == 4 || count == 2) return;
  }
  GPU_UNROLL
  for (int i = 0; i < count; i++)
    if (n + i < columns) to[i] = values[i];
}

}  // namespace cuda
}  // namespace langevin
