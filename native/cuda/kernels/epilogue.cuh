// What becomes of a sum before it is stored: a bias, and the element-wise commands that follow on the product.
//
// A thread stores several *runs* of adjacent outputs, 16 bytes each. What a command adds to them is loaded for all of them before
// any is stored, so that these loads wait for memory together.
#pragma once

#include "../divider.h"
#include "../launch.h"
#include "activation.cuh"
#include "operands.cuh"
#include "rounded.cuh"

namespace langevin {
namespace cuda {

// An element-wise command, applied to what its predecessor gives.
struct Tail {
  enum class Kind { add, relu, silu, reluGradient, siluGradient };
  Kind kind;
  const float* other;  // the second operand, of all but activations: for each `rows` rows of the result one of its own
  int64_t pitch;
  bool vectors;  // its rows are aligned to 16 bytes
  Divider rows;
};

constexpr int kMostTails = 3;

// y = tails(sum + bias).
struct Epilogue {
  Target y;
  const float* bias;  // [n]; null: none
  bool vectors;       // rows of y in float32 are aligned to 16 bytes
  int tailCount;
  Tail tails[kMostTails];
};

// The epilogue of a product whose result is `y`, and of those commands that follow on it; takes these. `bias` may be null.
Epilogue epilogueOf(const Operand& y, const Operand* bias, Launch& launch);

// Sums as they are, to dense memory with this many columns.
Epilogue plainEpilogue(void* sums, int columns);

constexpr int kRun = 4;

// Whether all rows start at 16 bytes.
inline bool areVectors(const float* data, int64_t pitch) { return aligned16(data) && pitch % kRun == 0; }

// Calls use(row, i) for each element of some runs.
template <int count, class Use>
__device__ __forceinline__ void forEachOf(const Use& use) {
  GPU_UNROLL
  for (int row = 0; row < count; row++) {
    GPU_UNROLL
    for (int i = 0; i < kRun; i++) use(row, i);
  }
}

// The first `width` elements of a run.
__device__ __forceinline__ void loadRun(const float* from, bool vectors, int width, float (&run)[kRun]) {
  if (vectors && width == kRun) {
    const float4 v = *reinterpret_cast<const float4*>(from);
    run[0] = v.x, run[1] = v.y, run[2] = v.z, run[3] = v.w;
  } else {
    GPU_UNROLL
    for (int i = 0; i < kRun; i++) run[i] = i < width ? from[i] : 0.0f;
  }
}

__device__ __forceinline__ void storeRun(float* to, bool vectors, int width, const float (&run)[kRun]) {
  if (vectors && width == kRun) {
    *reinterpret_cast<float4*>(to) = float4{run[0], run[1], run[2], run[3]};
  } else {
    GPU_UNROLL
    for (int i = 0; i < kRun; i++)
      if (i < width) to[i] = run[i];
  }
}

template <int count>
__device__ __forceinline__ void applyTail(const Tail& tail, const int64_t (&rows)[count], int n, int width, float (&runs)[count][kRun]) {
  float others[count][kRun] = {};
  if (tail.other != nullptr) {
    GPU_UNROLL
    for (int i = 0; i < count; i++)
      if (rows[i] >= 0)
        loadRun(tail.other + tail.rows.quotient(static_cast<int>(rows[i])) * tail.pitch + n, tail.vectors, width, others[i]);
  }
  const auto apply = [&](auto f) { forEachOf<count>([&](int row, int i) { runs[row][i] = f(runs[row][i], others[row][i]); }); };
  switch (tail.kind) {
    case Tail::Kind::add: return apply([](float x, float other) { return x + other; });
    case Tail::Kind::relu: return apply([](float x, float) { return Relu{}(x); });
    case Tail::Kind::silu: return apply([](float x, float) { return Silu{}(x); });
    case Tail::Kind::reluGradient: return apply([](float x, float other) { return ReluGradient{}(other, x); });
    case Tail::Kind::siluGradient: return apply([](float x, float other) { return SiluGradient{}(other, x); });
  }
}

// Stores sums of several rows, from column n on, of which there are `columns`. A negative row is left out.
template <int count>
__device__ __forceinline__ void storeRuns(const Epilogue& e, const int64_t (&rows)[count], int n, int columns, float (&runs)[count][kRun]) {
  const int width = columns - n < kRun ? columns - n : kRun;
  if (e.bias != nullptr) {
    float bias[kRun];
    loadRun(e.bias + n, false, width, bias);
    forEachOf<count>([&](int row, int i) { runs[row][i] += bias[i]; });
  }
  GPU_NO_UNROLL
  for (int t = 0; t < e.tailCount; t++) applyTail(e.tails[t], rows, n, width, runs);
  GPU_UNROLL
  for (int i = 0; i < count; i++) {
    if (rows[i] < 0) continue;
    if (e.y.whole.data != nullptr) storeRun(e.y.whole.data + rows[i] * e.y.whole.pitch + n, e.vectors, width, runs[i]);
    // Its rows are whole runs.
    if (e.y.rounded.data != nullptr) storeRounded(e.y.rounded.data + rows[i] * e.y.rounded.pitch + n, runs[i]);
  }
}

}  // namespace cuda
}  // namespace langevin
