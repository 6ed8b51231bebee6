// What the kernels of attention have in common: operands by heads, masks, and what is known of a query that has met all keys.
#pragma once

#include "../gpu.h"
#include "operands.cuh"

namespace langevin {
namespace cuda {

// An operand [batch, length, heads * width].
struct Operands {
  float* data;
  int pitch, length, width;
  bool vectors;  // 16 bytes may be moved at a time
};

// The same of one head.
using Rows = Operands;

struct Mask {
  const void* data;  // null: none
  bool added;        // float32, added to scores; else int32, 0 where a query may not look
  int batch, head, query, key;  // strides
};

struct Attention {
  int batch, heads, queries, keys;
  float scale;
  bool causal;
  Mask mask;
};

// What a query knows when it has met all keys.
struct alignas(16) Outlook {
  // Weights are e^(score - largest) inverse; on tensor cores `largest` is times log2 e.
  float largest, inverse;
  float mean;  // of the weights' gradients
};

struct Gradient {
  Operands q, k, v, dy;
  Operands dq, dk, dv;
  Outlook* outlooks;  // [batch * heads, queries]
};

// Head `index` of all heads of the batch.
__device__ __forceinline__ Rows headOf(const Attention& a, const Operands& x, int index) {
  const int image = index / a.heads, head = index - image * a.heads;
  Rows rows = x;
  rows.data += static_cast<int64_t>(image) * x.length * x.pitch + head * x.width;
  return rows;
}

// Where a head's part of the mask begins.
__device__ __forceinline__ int maskStart(const Attention& a, int head) {
  const int image = head / a.heads;
  return image * a.mask.batch + (head - image * a.heads) * a.mask.head;
}

// What a product of query and key becomes before the softmax; -Infinity where the query may not look.
__device__ __forceinline__ float scoreOf(const Attention& a, int mask, int query, int key, float product) {
  if (query >= a.queries || key >= a.keys || (a.causal && key > query)) return -INFINITY;
  const float score = product * a.scale;
  if (a.mask.data == nullptr) return score;
  const int at = mask + query * a.mask.query + key * a.mask.key;
  if (a.mask.added) return score + static_cast<const float*>(a.mask.data)[at];
  return static_cast<const int32_t*>(a.mask.data)[at] != 0 ? score : -INFINITY;
}

// Keys that the queries before `endQuery` may look at.
__device__ __forceinline__ int keysOf(const Attention& a, int endQuery) {
  return a.causal && endQuery < a.keys ? endQuery : a.keys;
}

__device__ __forceinline__ float larger(float a, float b) { return b > a ? b : a; }

// Blocks for tiles of `tile` rows out of `length`, `chunks` chunks of channels and all heads.
inline dim3 gridOf(const Attention& a, int64_t length, int tile, int64_t chunks) {
  const int64_t heads = int64_t{a.batch} * a.heads;
  return dim3(static_cast<unsigned>(ceilDivide(length, tile)), static_cast<unsigned>(chunks),
              static_cast<unsigned>(heads < kMostBlocks ? heads : kMostBlocks));
}

// On tensor cores (attention_tensor.cu), in tf32 or bf16, for heads of one channel or more.
template <Precision precision>
void attendOnTensorCores(const Attention& a, const Operands& q, const Operands& k, const Operands& v, const Operands& y,
                         Launch& launch);
template <Precision precision>
void differentiateOnTensorCores(const Attention& a, const Gradient& g, Launch& launch);

}  // namespace cuda
}  // namespace langevin
