// The product that convolutions and matmul share: y[m, n] = sum over k of a[m, k] b[k, n], tile by tile, and an
// epilogue (epilogue.cuh).
//
// A *task* says where elements of a and b come from, so that a convolution gathers its operands as it goes (implicit GEMM)
// and no matrix of windows exists. Its loaders map an `outer` index and an `inner` one, along which elements are adjacent,
// to an address:
//
//   op                    m              n    k                  a: outer, inner     b: outer, inner
//   conv2d                output pixel   O    (tap, I)           m, k                k, n
//   convTranspose2d       output pixel   I    (tap, O)           m, k                n, k
//   conv2dWeightGradient  (tap, I)       O    output pixel       k, m                k, n
//   matmul                row            col  k                  either              either
//
// Tiles of a and b lie in shared memory as they do in global memory, rows by their outer index, so that 16 bytes move at a
// time whatever the layout, and `stages` of them are under way by cp.async. Three kinds of arithmetic read them: float32 in
// registers by fma, tf32 and bf16 on tensor cores with float32 sums. Each output is one chain of sums in the order of k.
#pragma once

#include "../divider.h"
#include "../gpu.h"
#include "epilogue.cuh"
#include "operands.cuh"

namespace langevin {
namespace cuda {

// Loader of a matrix whose rows are the outer index.
template <class Element>
struct Matrix {
  const Element* data;
  int64_t pitch;
  int outerCount, innerCount;
  bool vectors;  // 16 bytes may be loaded at a time

  struct Outer {
    const Element* row;  // null beyond the last
  };
  struct Inner {
    int at;  // negative beyond the last
  };
  __device__ __forceinline__ Outer outer(int i) const { return {i < outerCount ? data + i * pitch : nullptr}; }
  __device__ __forceinline__ Inner inner(int i) const { return {i < innerCount ? i : -1}; }
  __device__ __forceinline__ const Element* address(const Outer& o, const Inner& i) const {
    return o.row == nullptr || i.at < 0 ? nullptr : o.row + i.at;
  }
};

// Whether rows of `count` elements, `pitch` apart, may be loaded 16 bytes at a time.
template <class Element>
bool inVectors(const Element* data, int64_t pitch, int64_t count) {
  constexpr int64_t width = 16 / static_cast<int64_t>(sizeof(Element));
  return aligned16(data) && pitch % width == 0 && count % width == 0;
}

// A long sum over k in parts, each a product of its own, where the outputs alone would leave a large GPU idle.
struct Parts {
  int each;  // how many k; a multiple of any tile's depth
  int count;
};

// By shape alone, so that sums do not depend on the GPU.
Parts partsOf(int64_t m, int64_t n, int64_t k);

// y[m, n] = the sum of parts [count, m, n] in their order, and what the epilogue adds to it.
void sumParts(const float* parts, int count, int64_t m, int n, const Epilogue& y, Launch& launch);

// The tile of one block and how its warps divide it. k is a tile's depth in elements; so many blocks must fit on a
// multiprocessor at a time, which bounds their registers.
template <int m_, int n_, int k_, int warpsM_, int warpsN_, int stages_, int blocks_>
struct Tile {
  static constexpr int m = m_, n = n_, k = k_, warpsM = warpsM_, warpsN = warpsN_, stages = stages_, blocks = blocks_;
  static constexpr int threads = 32 * warpsM * warpsN;
};

namespace gemm {

// Starts to copy one element; a bf16 is too small for an asynchronous copy.
__device__ __forceinline__ void copyElement(float* to, const float* from, const float* any) {
  gpu::copyAsync<4>(to, from == nullptr ? any : from, from != nullptr);
}
__device__ __forceinline__ void copyElement(gpu::Bf16* to, const gpu::Bf16* from, const gpu::Bf16*) {
  *to = from == nullptr ? gpu::Bf16{0} : *from;
}

// One stage of one operand in shared memory: `rows` of the outer index, `columns` of the inner one. Rows are spread over
// the banks so that eight neighbours (ldmatrix) meet no conflict, nor do four rows apart by 8 elements (tf32 fragments).
template <class Element, int rows_, int columns_>
struct Stage {
  static constexpr int rows = rows_, columns = columns_;
  static constexpr int vector = 16 / static_cast<int>(sizeof(Element));
  static constexpr int pitch = columns + (columns * static_cast<int>(sizeof(Element)) >= 128 ? 8 : vector);
  static constexpr int elements = rows * pitch;
};

// Fills stages of one operand. A thread has one inner position and several outer ones.
template <class Tile, class Stage, class Loader, class Element>
struct Filler {
  static constexpr int perRow = Stage::columns / Stage::vector;
  static constexpr int rowsAtATime = Tile::threads / perRow;
  static constexpr int turns = Stage::rows / rowsAtATime;
  static_assert(Tile::threads % perRow == 0 && Stage::rows % rowsAtATime == 0, "threads share a stage evenly");

  const Loader& loader;

  __device__ __forceinline__ int row() const { return static_cast<int>(threadIdx.x) / perRow; }
  __device__ __forceinline__ int column() const { return static_cast<int>(threadIdx.x) % perRow * Stage::vector; }

  // `outer(turn)` is where the thread's row of a turn lies, `inner` the first inner index of the stage.
  template <class Outer>
  __device__ __forceinline__ void fill(Element* stage, int inner, const Outer& outer) const {
    Element* const to = stage + row() * Stage::pitch + column();
    if (loader.vectors) {
      const typename Loader::Inner at = loader.inner(inner + column());
      GPU_UNROLL
      for (int turn = 0; turn < turns; turn++) {
        const Element* const from = loader.address(outer(turn), at);
        gpu::copyAsync<16>(to + turn * rowsAtATime * Stage::pitch, from == nullptr ? loader.data : from, from != nullptr);
      }
    } else {
      GPU_NO_UNROLL
      for (int i = 0; i < Stage::vector; i++) {
        const typename Loader::Inner at = loader.inner(inner + column() + i);
        GPU_UNROLL
        for (int turn = 0; turn < turns; turn++)
          copyElement(to + turn * rowsAtATime * Stage::pitch + i, loader.address(outer(turn), at), loader.data);
      }
    }
  }
};

// An operand whose inner index is k: a thread's rows stay, so where they lie is worked out once.
template <class Tile, class Stage, class Loader, class Element>
struct AlongK {
  using Fill = Filler<Tile, Stage, Loader, Element>;
  Fill filler;
  typename Loader::Outer rows[Fill::turns];

  __device__ __forceinline__ AlongK(const Loader& loader, int first) : filler{loader} {
    GPU_UNROLL
    for (int turn = 0; turn < Fill::turns; turn++)
      rows[turn] = loader.outer(first + filler.row() + turn * Fill::rowsAtATime);
  }
  __device__ __forceinline__ void load(Element* stage, int k) const {
    filler.fill(stage, k, [&](int turn) -> const typename Loader::Outer& { return rows[turn]; });
  }
};

// An operand whose outer index is k; nothing beyond `kEnd` is loaded.
template <class Tile, class Stage, class Loader, class Element>
struct AcrossK {
  using Fill = Filler<Tile, Stage, Loader, Element>;
  Fill filler;
  int first;

  __device__ __forceinline__ AcrossK(const Loader& loader, int first) : filler{loader}, first(first) {}
  __device__ __forceinline__ void load(Element* stage, int k) const {
    filler.fill(stage, first, [&](int turn) { return filler.loader.outer(k + filler.row() + turn * Fill::rowsAtATime); });
  }
};

template <bool condition, class Then, class Else>
struct Choose {
  using type = Then;
};
template <class Then, class Else>
struct Choose<false, Then, Else> {
  using type = Else;
};

// ---- float32: each thread has 8 x 8 outputs.

template <class Tile, class A, class B, bool aAlongK, bool bAlongK>
struct Float32Math {
  static constexpr int columns = Tile::n / 8, rows = Tile::m / 8;  // of threads
  static_assert(rows * columns == Tile::threads, "8 x 8 outputs a thread");
  float sums[8][8] = {};

  __device__ static __forceinline__ int threadRow() { return static_cast<int>(threadIdx.x) / columns; }
  __device__ static __forceinline__ int threadColumn() { return static_cast<int>(threadIdx.x) % columns; }

  // Which of the tile's rows and columns a thread has: neighbours' loads meet no conflict, in either layout.
  template <bool alongK>
  __device__ static __forceinline__ int position(int thread, int threads, int i) {
    return alongK ? thread + i * threads : thread * 4 + i / 4 * threads * 4 + i % 4;
  }

  // Eight elements at four successive k.
  template <bool alongK, int pitch>
  __device__ static __forceinline__ void fetch(const float* stage, int thread, int threads, int k, float (&x)[4][8]) {
    if (alongK) {
      GPU_UNROLL
      for (int i = 0; i < 8; i++) {
        const float4 v = *reinterpret_cast<const float4*>(stage + position<true>(thread, threads, i) * pitch + k);
        x[0][i] = v.x, x[1][i] = v.y, x[2][i] = v.z, x[3][i] = v.w;
      }
    } else {
      GPU_UNROLL
      for (int j = 0; j < 4; j++) {
        GPU_UNROLL
        for (int half = 0; half < 2; half++) {
          const float4 v = *reinterpret_cast<const float4*>(stage + (k + j) * pitch + position<false>(thread, threads, half * 4));
          x[j][half * 4] = v.x, x[j][half * 4 + 1] = v.y, x[j][half * 4 + 2] = v.z, x[j][half * 4 + 3] = v.w;
        }
      }
    }
  }

  __device__ __forceinline__ void multiply(const float* a, const float* b) {
    GPU_UNROLL
    for (int k = 0; k < Tile::k; k += 4) {
      float x[4][8], w[4][8];
      fetch<aAlongK, A::pitch>(a, threadRow(), rows, k, x);
      fetch<bAlongK, B::pitch>(b, threadColumn(), columns, k, w);
      GPU_UNROLL
      for (int j = 0; j < 4; j++) {
        GPU_UNROLL
        for (int i = 0; i < 8; i++) {
          GPU_UNROLL
          for (int l = 0; l < 8; l++) sums[i][l] = gpu::fma(x[j][i], w[j][l], sums[i][l]);
        }
      }
    }
  }

  // Calls use(row, column, sums, count) for runs of adjacent columns.
  template <class Use>
  __device__ __forceinline__ void forEachRun(const Use& use) const {
    constexpr int run = bAlongK ? 1 : 4;
    GPU_UNROLL
    for (int i = 0; i < 8; i++) {
      GPU_UNROLL
      for (int l = 0; l < 8; l += run) {
        float values[run];
        GPU_UNROLL
        for (int j = 0; j < run; j++) values[j] = sums[i][l + j];
        use(position<aAlongK>(threadRow(), rows, i), position<bAlongK>(threadColumn(), columns, l), values);
      }
    }
  }
};

// ---- Tensor cores: a warp has (Tile::m / warpsM) x (Tile::n / warpsN) outputs in pieces of 16 x 8.

template <class Tile, class A, class B, bool aAlongK, bool bAlongK>
struct TensorMath {
  static constexpr int m = Tile::m / Tile::warpsM, n = Tile::n / Tile::warpsN, piecesM = m / 16, piecesN = n / 8;
  static_assert(m % 16 == 0 && n % 16 == 0, "a warp's part is made of 16 x 16 outputs");
  float sums[piecesM][piecesN][4] = {};

  __device__ static __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static __forceinline__ int firstRow() { return static_cast<int>(threadIdx.x) / 32 / Tile::warpsN * m; }
  __device__ static __forceinline__ int firstColumn() { return static_cast<int>(threadIdx.x) / 32 % Tile::warpsN * n; }

  template <class Use>
  __device__ __forceinline__ void forEachRun(const Use& use) const {
    GPU_UNROLL
    for (int i = 0; i < piecesM; i++) {
      GPU_UNROLL
      for (int half = 0; half < 2; half++) {
        GPU_UNROLL
        for (int j = 0; j < piecesN; j++) {
          const float values[2] = {sums[i][j][half * 2], sums[i][j][half * 2 + 1]};
          use(firstRow() + i * 16 + half * 8 + lane() / 4, firstColumn() + j * 8 + lane() % 4 * 2, values);
        }
      }
    }
  }
};

template <class Tile, class A, class B, bool aAlongK, bool bAlongK>
struct Bf16Math : TensorMath<Tile, A, B, aAlongK, bAlongK> {
  using Base = TensorMath<Tile, A, B, aAlongK, bAlongK>;
  static_assert(Tile::k % 16 == 0, "a product takes 16 k");

  // The four 8 x 8 matrices of 16 rows (of m or n) and 16 k. `rowsFirst`: the second one is the next 8 rows, not k.
  template <bool alongK, bool rowsFirst, int pitch>
  __device__ static __forceinline__ void fetch(const gpu::Bf16* stage, int row, int k, uint32_t (&r)[4]) {
    const int lane = Base::lane(), second = lane / 8 % 2 * 8, third = lane / 16 * 8;
    const int atRow = row + (rowsFirst ? second : third), atK = k + (rowsFirst ? third : second);
    if (alongK)
      gpu::ldmatrix(r, stage + (atRow + lane % 8) * pitch + atK);
    else
      gpu::ldmatrixTransposed(r, stage + (atK + lane % 8) * pitch + atRow);
  }

  __device__ __forceinline__ void multiply(const gpu::Bf16* a, const gpu::Bf16* b) {
    GPU_UNROLL
    for (int k = 0; k < Tile::k; k += 16) {
      uint32_t x[Base::piecesM][4], w[Base::piecesN / 2][4];
      GPU_UNROLL
      for (int i = 0; i < Base::piecesM; i++) fetch<aAlongK, true, A::pitch>(a, Base::firstRow() + i * 16, k, x[i]);
      GPU_UNROLL
      for (int j = 0; j < Base::piecesN / 2; j++)
        fetch<bAlongK, false, B::pitch>(b, Base::firstColumn() + j * 16, k, w[j]);
      GPU_UNROLL
      for (int i = 0; i < Base::piecesM; i++) {
        GPU_UNROLL
        for (int j = 0; j < Base::piecesN; j++) {
          const uint32_t column[2] = {w[j / 2][j % 2 * 2], w[j / 2][j % 2 * 2 + 1]};
          gpu::mmaBf16(this->sums[i][j], x[i], column);
        }
      }
    }
  }
};

template <class Tile, class A, class B, bool aAlongK, bool bAlongK>
struct Tf32Math : TensorMath<Tile, A, B, aAlongK, bAlongK> {
  using Base = TensorMath<Tile, A, B, aAlongK, bAlongK>;
  static_assert(Tile::k % 8 == 0, "a product takes 8 k");

  // As for bf16, with 8 x 4 floats in place of 8 x 8 halves; ldmatrix cannot transpose those.
  template <bool alongK, bool rowsFirst, int pitch>
  __device__ static __forceinline__ void fetch(const float* stage, int row, int k, uint32_t (&r)[4]) {
    const int lane = Base::lane();
    if (alongK) {
      const int second = lane / 8 % 2, third = lane / 16;
      gpu::ldmatrix(r, stage + (row + (rowsFirst ? second : third) * 8 + lane % 8) * pitch + k +
                           (rowsFirst ? third : second) * 4);
      GPU_UNROLL
      for (int q = 0; q < 4; q++) r[q] = gpu::toTf32(gpu::floatFromBits(r[q]));
    } else {
      GPU_UNROLL
      for (int q = 0; q < 4; q++) {
        const int second = q % 2, third = q / 2;
        r[q] = gpu::toTf32(stage[(k + (rowsFirst ? third : second) * 4 + lane % 4) * pitch + row +
                                 (rowsFirst ? second : third) * 8 + lane / 4]);
      }
    }
  }

  __device__ __forceinline__ void multiply(const float* a, const float* b) {
    GPU_UNROLL
    for (int k = 0; k < Tile::k; k += 8) {
      uint32_t x[Base::piecesM][4], w[Base::piecesN / 2][4];
      GPU_UNROLL
      for (int i = 0; i < Base::piecesM; i++) fetch<aAlongK, true, A::pitch>(a, Base::firstRow() + i * 16, k, x[i]);
      GPU_UNROLL
      for (int j = 0; j < Base::piecesN / 2; j++)
        fetch<bAlongK, false, B::pitch>(b, Base::firstColumn() + j * 16, k, w[j]);
      GPU_UNROLL
      for (int i = 0; i < Base::piecesM; i++) {
        GPU_UNROLL
        for (int j = 0; j < Base::piecesN; j++) {
          const uint32_t column[2] = {w[j / 2][j % 2 * 2], w[j / 2][j % 2 * 2 + 1]};
          gpu::mmaTf32(this->sums[i][j], x[i], column);
        }
      }
    }
  }
};

template <Precision precision>
struct Kind;
template <>
struct Kind<Precision::float32> {
  using Element = float;
  template <class Tile, class A, class B, bool aAlongK, bool bAlongK>
  using Math = Float32Math<Tile, A, B, aAlongK, bAlongK>;
};
template <>
struct Kind<Precision::tf32> {
  using Element = float;
  template <class Tile, class A, class B, bool aAlongK, bool bAlongK>
  using Math = Tf32Math<Tile, A, B, aAlongK, bAlongK>;
};
template <>
struct Kind<Precision::bf16> {
  using Element = gpu::Bf16;
  template <class Tile, class A, class B, bool aAlongK, bool bAlongK>
  using Math = Bf16Math<Tile, A, B, aAlongK, bAlongK>;
};

// The stages of a task's operands under a tile.
template <class Tile, class Task>
struct Plan {
  using Element = typename Task::Element;
  using A = typename Choose<Task::aAlongK, Stage<Element, Tile::m, Tile::k>, Stage<Element, Tile::k, Tile::m>>::type;
  using B = typename Choose<Task::bAlongK, Stage<Element, Tile::n, Tile::k>, Stage<Element, Tile::k, Tile::n>>::type;
  static constexpr size_t stageBytes = sizeof(Element) * Tile::stages * (A::elements + B::elements);
  // Once all is added up, the sums lie where the stages did. Threads write them by eight rows or by four without conflicts.
  static constexpr int sumsPitch = Tile::n + 8;
  static constexpr size_t sumsBytes = sizeof(float) * Tile::m * sumsPitch;
  static constexpr size_t bytes = stageBytes > sumsBytes ? stageBytes : sumsBytes;
};

template <int count>
__device__ __forceinline__ void keepRun(float* to, const float (&run)[count]) {
  if constexpr (count == 4) *reinterpret_cast<float4*>(to) = float4{run[0], run[1], run[2], run[3]};
  else if constexpr (count == 2) *reinterpret_cast<float2*>(to) = float2{run[0], run[1]};
  else *to = run[0];
}

// Stores a product's tile, whose sums lie in shared memory.
template <class Tile, int pitch, class Product>
__device__ __forceinline__ void storeTile(const float* sums, const Product& product, int m, int n) {
  constexpr int perRow = Tile::n / kRun, rowsAtATime = Tile::threads / perRow, turns = Tile::m / rowsAtATime, count = 4;
  static_assert(Tile::threads % perRow == 0 && turns % count == 0, "threads share a tile evenly");
  const int first = static_cast<int>(threadIdx.x) / perRow, column = static_cast<int>(threadIdx.x) % perRow * kRun;
  if (n + column >= product.n) return;
  GPU_NO_UNROLL
  for (int turn = 0; turn < turns; turn += count) {
    int64_t rows[count];
    float runs[count][kRun];
    GPU_UNROLL
    for (int i = 0; i < count; i++) {
      const int row = first + (turn + i) * rowsAtATime;
      rows[i] = m + row < product.m ? product.rowOf(m + row) : -1;
      loadRun(sums + row * pitch + column, true, kRun, runs[i]);
    }
    storeRuns(product.epilogue, rows, n + column, product.n, runs);
  }
}

// One tile of one product of the task.
template <Precision precision, class Tile, class Task>
__device__ __forceinline__ void multiplyTask(const Task& task) {
  using Plan = gemm::Plan<Tile, Task>;
  using Element = typename Task::Element;
  using A = typename Plan::A;
  using B = typename Plan::B;
  using LoadA = typename Choose<Task::aAlongK, AlongK<Tile, A, typename Task::LoaderA, Element>,
                                AcrossK<Tile, A, typename Task::LoaderA, Element>>::type;
  using LoadB = typename Choose<Task::bAlongK, AlongK<Tile, B, typename Task::LoaderB, Element>,
                                AcrossK<Tile, B, typename Task::LoaderB, Element>>::type;
  using Math = typename Kind<precision>::template Math<Tile, A, B, Task::aAlongK, Task::bAlongK>;
  GPU_DYNAMIC_SHARED(memory);
  Element* const stagesA = reinterpret_cast<Element*>(memory);
  Element* const stagesB = stagesA + Tile::stages * A::elements;

  GPU_NO_UNROLL
  for (int z = static_cast<int>(blockIdx.z); z < task.products; z += static_cast<int>(gridDim.z)) {
    const auto& product = task.product(z);
    const int m = static_cast<int>(blockIdx.x) * Tile::m, n = static_cast<int>(blockIdx.y) * Tile::n;
    if (m >= product.m) continue;
    const LoadA loadA(product.a, m);
    const LoadB loadB(product.b, n);
    const int steps = (product.kEnd - product.kBegin + Tile::k - 1) / Tile::k;
    const auto load = [&](int step) {
      if (step < steps) {
        const int stage = step % Tile::stages, k = product.kBegin + step * Tile::k;
        loadA.load(stagesA + stage * A::elements, k);
        loadB.load(stagesB + stage * B::elements, k);
      }
      gpu::commitCopies();
    };

    Math math;
    GPU_UNROLL
    for (int step = 0; step < Tile::stages - 1; step++) load(step);
    GPU_NO_UNROLL
    for (int step = 0; step < steps; step++) {
      gpu::waitCopies<Tile::stages - 2>();
      // After this barrier the stage of the step before is free, and this step's is full.
      __syncthreads();
      load(step + Tile::stages - 1);
      const int stage = step % Tile::stages;
      math.multiply(stagesA + stage * A::elements, stagesB + stage * B::elements);
    }
    gpu::waitCopies<0>();
    __syncthreads();
    float* const sums = reinterpret_cast<float*>(memory);
    math.forEachRun([&](int row, int column, const auto& run) { keepRun(sums + row * Plan::sumsPitch + column, run); });
    __syncthreads();
    storeTile<Tile, Plan::sumsPitch>(sums, product, m, n);
    __syncthreads();
  }
}

template <Precision precision, class Tile, class Task>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks) multiply(const Task task) {
  if constexpr (precision == Precision::float32 || gpu::kTensorCores)
    multiplyTask<precision, Tile>(task);
  else
    gpu::trap();
}

// Enqueues a task whose largest product has m rows and n columns.
template <Precision precision, class Tile, class Task>
void enqueue(const Task& task, int64_t m, int64_t n, Launch& launch) {
  const int64_t across = ceilDivide(n, Tile::n);
  if (across > kMostBlocks) Launch::refuse("a product with " + std::to_string(n) + " columns is too wide for a grid");
  const dim3 grid(static_cast<unsigned>(ceilDivide(m, Tile::m)), static_cast<unsigned>(across),
                  static_cast<unsigned>(task.products < kMostBlocks ? task.products : kMostBlocks));
  GPU_LAUNCH_SHARED((multiply<precision, Tile, Task>), grid, dim3(Tile::threads), (Plan<Tile, Task>::bytes),
                    launch.stream(), task);
}

}  // namespace gemm

// Runs a task, in tiles that suit the precision and the number of columns.
template <Precision precision, class Task>
void multiplyTiles(const Task& task, int64_t m, int64_t n, Launch& launch) {
  if constexpr (precision == Precision::float32) {
    if (n > 32)
      gemm::enqueue<precision, Tile<128, 64, 16, 4, 1, 3, 2>>(task, m, n, launch);
    else
      gemm::enqueue<precision, Tile<64, 32, 16, 1, 1, 3, 8>>(task, m, n, launch);
  } else if constexpr (precision == Precision::tf32) {
    gemm::enqueue<precision, Tile<128, 64, 16, 2, 2, 4, 2>>(task, m, n, launch);
  } else {
    if (n > 64)
      gemm::enqueue<precision, Tile<128, 128, 32, 2, 2, 4, 2>>(task, m, n, launch);
    else
      gemm::enqueue<precision, Tile<128, 64, 32, 2, 2, 4, 3>>(task, m, n, launch);
  }
}

}  // namespace cuda
}  // namespace langevin
