// How kernels walk pitched and broadcast operands element by element.
//
// A walk holds, by value, the nest of axes that is left when neighbours that every operand walks as one are merged. Where
// one axis is left, adjacent or repeated in each operand, a thread takes four elements with one load of 16 bytes; else it
// finds the place of each element by division. Threads take turns, so that any size fits a grid.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "../../core/command.h"
#include "../gpu.h"
#include "../launch.h"

namespace langevin {
namespace cuda {

using Word = uint32_t;

constexpr unsigned kThreads = 256;      // of a block
constexpr int kBlocksPerProcessor = 8;  // 2048 threads, all that a multiprocessor holds
constexpr int kQuad = 4;

LANGEVIN_HD bool isWord(DType dtype) { return dtype == DType::f32 || dtype == DType::i32; }

template <class T>
constexpr DType dtypeOf() {
  return std::is_same<T, float>::value ? DType::f32 : DType::i32;
}

// Refuses operands that are not all of `dtype`.
inline void expectDType(const Command& command, DType dtype) {
  bool good = !command.output.present() || command.output.dtype == dtype;
  for (int i = 0; i < command.inputCount; i++)
    good = good && (!command.inputs[i].present() || command.inputs[i].dtype == dtype);
  if (!good) Launch::refuse(dtype == DType::f32 ? "expected float32 operands" : "expected int32 operands");
}

// Refuses operands that are not all of one dtype that takes a word.
inline void expectSameWords(const Command& command) {
  const DType dtype = command.inputs[0].dtype;
  bool good = isWord(dtype) && (!command.output.present() || command.output.dtype == dtype);
  for (int i = 1; i < command.inputCount; i++) good = good && command.inputs[i].dtype == dtype;
  if (!good) Launch::refuse("expected operands of one dtype, float32 or int32");
}

// Blocks for `threads` threads, at most as many as are at work at a time.
inline dim3 gridFor(const Launch& launch, int64_t threads, int blocksPerProcessor = kBlocksPerProcessor) {
  const int64_t wanted = (threads + kThreads - 1) / kThreads, most = int64_t{launch.multiprocessors()} * blocksPerProcessor;
  return dim3(static_cast<unsigned>(wanted < most ? wanted : most));
}

__device__ inline int64_t firstTurn() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t turnStep() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// Drops axes of size 1 and merges neighbours that each operand walks as one. Leaves at least one axis; returns how many.
inline int collapseAxes(int rank, int64_t* shape, int64_t (*stride)[kMaxRank], int operands) {
  int last = -1;
  for (int i = 0; i < rank; i++) {
    if (shape[i] == 1) continue;
    bool merges = last >= 0;
    for (int k = 0; k < operands; k++) merges = merges && stride[k][last < 0 ? 0 : last] == stride[k][i] * shape[i];
    if (!merges) last++;
    shape[last] = merges ? shape[last] * shape[i] : shape[i];
    for (int k = 0; k < operands; k++) stride[k][last] = stride[k][i];
  }
  if (last >= 0) return last + 1;
  shape[0] = 1;
  for (int k = 0; k < operands; k++) stride[k][0] = 1;
  return 1;
}

// A loop nest over N strided operands, innermost axis last. Element strides; 0 where an operand is repeated.
template <int N>
struct Walk {
  int rank = 0;
  int64_t size = 0;
  int64_t shape[kMaxRank] = {};
  int64_t stride[N][kMaxRank] = {};
  void* data[N] = {};

  // Drops axes of size 1 and merges neighbours. Leaves at least one axis.
  void collapse() {
    size = 1;
    for (int i = 0; i < rank; i++) size *= shape[i];
    rank = collapseAxes(rank, shape, stride, N);
  }

  // Whether a thread can take four neighbours at once.
  bool quads() const {
    if (rank != 1) return false;
    for (int k = 0; k < N; k++) {
      const bool adjacent = stride[k][0] == 1 && reinterpret_cast<uintptr_t>(data[k]) % (kQuad * sizeof(Word)) == 0;
      if (!adjacent && stride[k][0] != 0) return false;
    }
    return true;
  }

  // Where element i lies in each operand. Division of 32 bits is several times faster than that of 64.
  __device__ void locate(int64_t i, int64_t (&offset)[N]) const {
    if (size <= INT32_MAX) locateAs<uint32_t>(static_cast<uint32_t>(i), offset);
    else locateAs<uint64_t>(static_cast<uint64_t>(i), offset);
  }

 private:
  template <class Index>
  __device__ void locateAs(Index i, int64_t (&offset)[N]) const {
    for (int k = 0; k < N; k++) offset[k] = 0;
    for (int axis = rank - 1; axis > 0; axis--) {
      const Index above = i / static_cast<Index>(shape[axis]);
      const int64_t place = static_cast<int64_t>(i - above * static_cast<Index>(shape[axis]));
      for (int k = 0; k < N; k++) offset[k] += place * stride[k][axis];
      i = above;
    }
    for (int k = 0; k < N; k++) offset[k] += static_cast<int64_t>(i) * stride[k][0];
  }
};

// Strides with which `x` is walked when broadcast to `rank` axes.
inline void broadcastStrides(const Operand& x, int rank, int64_t out[kMaxRank]) {
  int64_t own[kMaxRank] = {};
  x.strides(own);
  const int lead = rank - x.rank;
  for (int i = 0; i < rank; i++) out[i] = i < lead || x.shape[i - lead] == 1 ? 0 : own[i - lead];
}

// The walk over operands that are broadcast to the shape of the first one, before it collapses.
template <int N>
Walk<N> walkOf(const Operand* const (&operands)[N]) {
  Walk<N> walk;
  walk.rank = operands[0]->rank;
  for (int i = 0; i < walk.rank; i++) walk.shape[i] = operands[0]->shape[i];
  operands[0]->strides(walk.stride[0]);
  for (int k = 1; k < N; k++) broadcastStrides(*operands[k], walk.rank, walk.stride[k]);
  for (int k = 0; k < N; k++) walk.data[k] = operands[k]->data;
  return walk;
}

template <class T>
struct alignas(16) QuadOf {
  T v[kQuad];
};

// Four neighbours of an operand, or one value four times.
template <class T>
__device__ QuadOf<T> loadQuad(const void* data, int64_t stride, int64_t at) {
  if (stride != 0) return *reinterpret_cast<const QuadOf<T>*>(static_cast<const T*>(data) + at);
  const T value = *static_cast<const T*>(data);
  return {{value, value, value, value}};
}

template <class F, class Y, class... X, size_t... K>
__device__ void applyOne(const F& f, const Walk<sizeof...(X) + 1>& walk, int64_t i, std::index_sequence<K...>) {
  int64_t offset[sizeof...(X) + 1];
  walk.locate(i, offset);
  static_cast<Y*>(walk.data[0])[offset[0]] = f(static_cast<const X*>(walk.data[K + 1])[offset[K + 1]]...);
}

template <class F, class Y, class... X, size_t... K>
__device__ void applyQuad(const F& f, const Walk<sizeof...(X) + 1>& walk, int64_t at, std::index_sequence<K...>) {
  const auto compute = [&](const QuadOf<X>&... x) {
    QuadOf<Y> y;
    for (int j = 0; j < kQuad; j++) y.v[j] = f(x.v[j]...);
    *reinterpret_cast<QuadOf<Y>*>(static_cast<Y*>(walk.data[0]) + at) = y;
  };
  compute(loadQuad<X>(walk.data[K + 1], walk.stride[K + 1][0], at)...);
}

// y = f(x...) for every element.
template <class F, class Y, class... X>
__global__ void __launch_bounds__(kThreads) mapElements(const F f, const Walk<sizeof...(X) + 1> walk, const bool quads) {
  constexpr std::make_index_sequence<sizeof...(X)> all{};
  if (!quads) {
    for (int64_t i = firstTurn(); i < walk.size; i += turnStep()) applyOne<F, Y, X...>(f, walk, i, all);
    return;
  }
  for (int64_t at = kQuad * firstTurn(); at < walk.size; at += kQuad * turnStep()) {
    if (at + kQuad <= walk.size) {
      applyQuad<F, Y, X...>(f, walk, at, all);
    } else {
      for (int64_t i = at; i < walk.size; i++) applyOne<F, Y, X...>(f, walk, i, all);
    }
  }
}

// Enqueues y = f(x...), where `walk` has the places of y and of the inputs.
template <class Y, class... X, class F>
void map(Launch& launch, Walk<sizeof...(X) + 1> walk, const F& f) {
  walk.collapse();
  if (walk.size == 0) return;
  const bool quads = walk.quads();
  const int64_t threads = quads ? (walk.size + kQuad - 1) / kQuad : walk.size;
  GPU_LAUNCH((mapElements<F, Y, X...>), gridFor(launch, threads), dim3(kThreads), launch.stream(), f, walk, quads);
}

// The same for the command's output and its first inputs, broadcast to it.
template <class Y, class... X, class F>
void mapInputs(Command& command, Launch& launch, const F& f) {
  constexpr int n = static_cast<int>(sizeof...(X)) + 1;
  const Operand* operands[n] = {&command.output};
  for (int k = 1; k < n; k++) operands[k] = &command.inputs[k - 1];
  map<Y, X...>(launch, walkOf<n>(operands), f);
}

struct Same {
  __device__ Word operator()(Word x) const { return x; }
};

}  // namespace cuda
}  // namespace langevin
