// attention and attentionGradient: softmax(scale q k^T + mask) v for each head, without ever holding all of its weights. Kernels
// here are those in float32; others are in attention_tensor.cu.
//
// A block has a tile of 64 queries and meets the keys 64 at a time; the largest score, the sum of a row's weights and the
// weighted values are carried from tile to tile (FlashAttention, Dao et al. 2022, algorithm 1). Backward, weights are
// computed again. One kernel finds what is known of each query only when it has met all keys: the largest score, the sum of
// weights, and the mean of what they are multiplied with. Then a block for each tile of queries adds up dq over keys, and a
// block for each tile of keys adds up dk and dv over queries: nobody adds to another's sums, and every order is fixed.
//
// All of them are made of two products. `multiplyRows` gives the dot products of 64 rows with 64 others: scores are queries
// and keys, and the weights' gradients are gradients and values. `addProduct` adds 64 x 64 weights times 64 rows. Both stage
// their operands in shared memory by cp.async, and each of the 16 x 16 threads has every 16th row, so that 16-byte reads of
// shared memory meet no conflicts. Any number of a head's channels will do. Forward, blocks of their own have 64 of them (or
// 128); backward, where that would compute weights again too often, sums of heads with more than 64 wait in the output.
#include "attention.cuh"
#include "elementwise.cuh"
#include "functions.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int kTile = 64;   // queries, and keys
constexpr int kSide = 16;   // threads each way; each has 4 x 4 of a tile's scores
constexpr int kEach = kTile / kSide;
constexpr int kDepth = 32;  // channels of a product that are staged at a time
constexpr int kDepthPitch = kDepth + 4, kWeightPitch = kTile + 4;  // in floats: neighbouring rows lie in different banks
constexpr int kWide = 64;   // channels that are summed to

// Shared memory in floats: two stages of rows, whose place the weights take afterwards, and stages of values.
constexpr int kRowsStage = kTile * kDepthPitch, kValuesStage = kTile * kWide;
static_assert(kTile * kWeightPitch <= 2 * kRowsStage, "weights fit where rows were");

__device__ __forceinline__ int threadRow() { return static_cast<int>(threadIdx.x) / kSide; }
__device__ __forceinline__ int threadColumn() { return static_cast<int>(threadIdx.x) % kSide; }

// Starts to copy `count` rows from `first` on, `columns` columns from `column` on; zeros beyond the ends of x.
template <int count, int columns, int pitch>
__device__ __forceinline__ void stage(const Rows& x, int first, int column, float* to) {
  const int thread = static_cast<int>(threadIdx.x);
  if (x.vectors) {
    constexpr int perRow = columns / 4;
    GPU_NO_UNROLL
    for (int i = thread; i < count * perRow; i += static_cast<int>(kThreads)) {
      const int row = i / perRow, at = i % perRow * 4;
      const bool inside = first + row < x.length && column + at < x.width;
      const float* const from = inside ? x.data + static_cast<int64_t>(first + row) * x.pitch + column + at : x.data;
      gpu::copyAsync<16>(to + row * pitch + at, from, inside);
    }
  } else {
    GPU_NO_UNROLL
    for (int i = thread; i < count * columns; i += static_cast<int>(kThreads)) {
      const int row = i / columns, at = i % columns;
      const bool inside = first + row < x.length && column + at < x.width;
      const float* const from = inside ? x.data + static_cast<int64_t>(first + row) * x.pitch + column + at : x.data;
      gpu::copyAsync<4>(to + row * pitch + at, from, inside);
    }
  }
}

// products[i][j] = row threadRow + 16 i of a's tile times row threadColumn + 16 j of b's. `start` is called when all threads
// are done with what they did before, to start copies that shall be there later.
template <class Start>
__device__ __forceinline__ void multiplyRows(const Rows& a, int firstA, const Rows& b, int firstB, float* stages,
                                             float (&products)[kEach][kEach], const Start& start) {
  GPU_UNROLL
  for (int i = 0; i < kEach; i++) {
    GPU_UNROLL
    for (int j = 0; j < kEach; j++) products[i][j] = 0;
  }
  const float* const rowsA = stages + threadRow() * kDepthPitch;
  const float* const rowsB = stages + kRowsStage + threadColumn() * kDepthPitch;
  int depth = 0;
  GPU_NO_UNROLL
  do {
    __syncthreads();
    stage<kTile, kDepth, kDepthPitch>(a, firstA, depth, stages);
    stage<kTile, kDepth, kDepthPitch>(b, firstB, depth, stages + kRowsStage);
    gpu::commitCopies();
    gpu::waitCopies<0>();
    __syncthreads();
    if (depth == 0) start();
    GPU_NO_UNROLL
    for (int k = 0; k < kDepth; k += 4) {
      float4 x[kEach];
      GPU_UNROLL
      for (int i = 0; i < kEach; i++) x[i] = *reinterpret_cast<const float4*>(rowsA + i * kSide * kDepthPitch + k);
      GPU_UNROLL
      for (int j = 0; j < kEach; j++) {
        const float4 y = *reinterpret_cast<const float4*>(rowsB + j * kSide * kDepthPitch + k);
        GPU_UNROLL
        for (int i = 0; i < kEach; i++) {
          products[i][j] = gpu::fma(x[i].x, y.x, products[i][j]);
          products[i][j] = gpu::fma(x[i].y, y.y, products[i][j]);
          products[i][j] = gpu::fma(x[i].z, y.z, products[i][j]);
          products[i][j] = gpu::fma(x[i].w, y.w, products[i][j]);
        }
      }
    }
    depth += kDepth;
  } while (depth < a.width);
}

// Puts a thread's weights where all may read them; to be called between barriers.
__device__ __forceinline__ void putWeights(const float (&weights)[kEach][kEach], float* to) {
  GPU_UNROLL
  for (int i = 0; i < kEach; i++) {
    GPU_UNROLL
    for (int j = 0; j < kEach; j++)
      to[(threadRow() + kSide * i) * kWeightPitch + threadColumn() + kSide * j] = weights[i][j];
  }
}

// sums[i][4 c + ...] += the weights of row threadRow + 16 i, from column `first` on, times `count` rows of `width` values, at
// columns 64 c + 4 threadColumn + ...
template <int count, int width>
__device__ __forceinline__ void addProduct(const float* weights, int first, const float* values,
                                           float (&sums)[kEach][width / kSide]) {
  const float* const rows = weights + threadRow() * kWeightPitch + first;
  const float* const columns = values + 4 * threadColumn();
  GPU_NO_UNROLL
  for (int k = 0; k < count; k += 4) {
    float w[kEach][4];
    GPU_UNROLL
    for (int i = 0; i < kEach; i++) {
      const float4 four = *reinterpret_cast<const float4*>(rows + i * kSide * kWeightPitch + k);
      w[i][0] = four.x, w[i][1] = four.y, w[i][2] = four.z, w[i][3] = four.w;
    }
    GPU_UNROLL
    for (int l = 0; l < 4; l++) {
      GPU_UNROLL
      for (int c = 0; c < width / kWide; c++) {
        const float4 v = *reinterpret_cast<const float4*>(columns + (k + l) * width + kWide * c);
        GPU_UNROLL
        for (int i = 0; i < kEach; i++) {
          sums[i][4 * c] = gpu::fma(w[i][l], v.x, sums[i][4 * c]);
          sums[i][4 * c + 1] = gpu::fma(w[i][l], v.y, sums[i][4 * c + 1]);
          sums[i][4 * c + 2] = gpu::fma(w[i][l], v.z, sums[i][4 * c + 2]);
          sums[i][4 * c + 3] = gpu::fma(w[i][l], v.w, sums[i][4 * c + 3]);
        }
      }
    }
  }
}

// Stores a tile of sums of columns from `column` on.
template <int width>
__device__ __forceinline__ void storeRows(const float (&sums)[kEach][width / kSide], const Rows& y, int first, int column) {
  GPU_UNROLL
  for (int i = 0; i < kEach; i++) {
    const int row = first + threadRow() + kSide * i;
    if (row >= y.length) continue;
    GPU_UNROLL
    for (int c = 0; c < width / kWide; c++) {
      const int at = column + kWide * c + 4 * threadColumn();
      float* const to = y.data + static_cast<int64_t>(row) * y.pitch + at;
      if (y.vectors && at < y.width) {
        *reinterpret_cast<float4*>(to) = float4{sums[i][4 * c], sums[i][4 * c + 1], sums[i][4 * c + 2], sums[i][4 * c + 3]};
        continue;
      }
      GPU_UNROLL
      for (int l = 0; l < 4; l++)
        if (at + l < y.width) to[l] = sums[i][4 * c + l];
    }
  }
}

// The sums that storeRows has left, for the same threads.
__device__ __forceinline__ void loadRows(float (&sums)[kEach][kEach], const Rows& y, int first, int column) {
  GPU_UNROLL
  for (int i = 0; i < kEach; i++) {
    const int row = first + threadRow() + kSide * i, at = column + 4 * threadColumn();
    const float* const from = y.data + static_cast<int64_t>(row) * y.pitch + at;
    GPU_UNROLL
    for (int l = 0; l < 4; l++) sums[i][l] = row < y.length && at + l < y.width ? from[l] : 0.0f;
  }
}

// Adds weights times the tile of `values` from row `value` on to the tile of `target` from row `first` on, 64 channels at a
// time, the first of which are being staged. Sums of heads that have no more are in registers, `sums`, until finishRows; those
// of deep ones wait in the target from one tile of values to the next: a thread finds there what it has put there.
template <bool deep>
__device__ __forceinline__ void addRows(const float* weights, const Rows& values, int value, float* staged, const Rows& target,
                                        int first, bool fresh, float (&sums)[kEach][kEach]) {
  if constexpr (deep) {
    GPU_NO_UNROLL
    for (int column = 0; column < target.width; column += kWide) {
      if (column > 0) {
        __syncthreads();
        stage<kTile, kWide, kWide>(values, value, column, staged);
        gpu::commitCopies();
      }
      float chunk[kEach][kEach] = {};
      if (!fresh) loadRows(chunk, target, first, column);
      gpu::waitCopies<0>();
      __syncthreads();
      addProduct<kTile, kWide>(weights, 0, staged, chunk);
      storeRows<kWide>(chunk, target, first, column);
    }
  } else {
    gpu::waitCopies<0>();
    __syncthreads();
    addProduct<kTile, kWide>(weights, 0, staged, sums);
  }
}

// Stores what has no place yet: where there was no tile of values (`none`), deep heads, too, have sums of 0.
template <bool deep>
__device__ __forceinline__ void finishRows(const Rows& target, int first, bool none, const float (&sums)[kEach][kEach]) {
  if (deep && !none) return;
  GPU_NO_UNROLL
  for (int column = 0; column < target.width; column += kWide) storeRows<kWide>(sums, target, first, column);
}

// Over the 16 threads that share rows.
__device__ __forceinline__ float rowSum(float value) {
  GPU_UNROLL
  for (int distance = kSide / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(gpu::kAllLanes, value, distance);
  return value;
}
__device__ __forceinline__ float rowLargest(float value) {
  GPU_UNROLL
  for (int distance = kSide / 2; distance > 0; distance /= 2)
    value = larger(value, __shfl_xor_sync(gpu::kAllLanes, value, distance));
  return value;
}

// A row's largest score and sum of weights, tile by tile.
struct Progress {
  float largest = -INFINITY, total = 0;

  // Turns the thread's scores of one more tile into weights e^(score - largest). Returns what earlier sums shrink by.
  __device__ __forceinline__ float take(float (&scores)[kEach]) {
    float found = scores[0];
    GPU_UNROLL
    for (int j = 1; j < kEach; j++) found = larger(found, scores[j]);
    const float before = largest;
    largest = larger(before, rowLargest(found));
    // Rows that may look nowhere have weights of 0.
    const float reference = largest == -INFINITY ? 0.0f : largest;
    float sum = 0;
    GPU_UNROLL
    for (int j = 0; j < kEach; j++) {
      scores[j] = exponential(scores[j] - reference);
      sum += scores[j];
    }
    const float shrunk = before == -INFINITY ? 0.0f : exponential(before - largest);
    total = total * shrunk + rowSum(sum);
    return shrunk;
  }
};

// A tile of queries, and `width` channels of the values: blocks are (tile, channels, head).
template <int width>
__global__ void __launch_bounds__(kThreads, 2) attend(const Attention a, const Operands q, const Operands k,
                                                                      const Operands v, const Operands y) {
  constexpr int valueRows = kValuesStage / width;  // that are staged at a time
  GPU_DYNAMIC_SHARED(memory);
  float* const stages = reinterpret_cast<float*>(memory);
  float* const values = stages + 2 * kRowsStage;
  const int query = static_cast<int>(blockIdx.x) * kTile, column = static_cast<int>(blockIdx.y) * width;
  GPU_NO_UNROLL
  for (int head = static_cast<int>(blockIdx.z); head < a.batch * a.heads; head += static_cast<int>(gridDim.z)) {
    const int mask = maskStart(a, head);
    const Rows queries = headOf(a, q, head), keys = headOf(a, k, head), ofValues = headOf(a, v, head);
    Progress rows[kEach];
    float sums[kEach][width / kSide] = {};
    const int end = keysOf(a, query + kTile);
    GPU_NO_UNROLL
    for (int key = 0; key < end; key += kTile) {
      float weights[kEach][kEach];
      multiplyRows(queries, query, keys, key, stages, weights,
                   [&] { stage<valueRows, width, width>(ofValues, key, column, values); });
      gpu::commitCopies();
      GPU_UNROLL
      for (int i = 0; i < kEach; i++) {
        GPU_UNROLL
        for (int j = 0; j < kEach; j++)
          weights[i][j] = scoreOf(a, mask, query + threadRow() + kSide * i, key + threadColumn() + kSide * j, weights[i][j]);
        const float shrunk = rows[i].take(weights[i]);
        GPU_UNROLL
        for (int c = 0; c < width / kSide; c++) sums[i][c] *= shrunk;
      }
      __syncthreads();
      putWeights(weights, stages);
      gpu::waitCopies<0>();
      __syncthreads();
      addProduct<valueRows, width>(stages, 0, values, sums);
      GPU_UNROLL
      for (int first = valueRows; first < kTile; first += valueRows) {
        __syncthreads();
        stage<valueRows, width, width>(ofValues, key + first, column, values);
        gpu::commitCopies();
        gpu::waitCopies<0>();
        __syncthreads();
        addProduct<valueRows, width>(stages, first, values, sums);
      }
    }
    GPU_UNROLL
    for (int i = 0; i < kEach; i++) {
      const float divisor = rows[i].total == 0 ? 1.0f : rows[i].total;
      GPU_UNROLL
      for (int c = 0; c < width / kSide; c++) sums[i][c] = gpu::divide(sums[i][c], divisor);
    }
    storeRows<width>(sums, headOf(a, y, head), query, column);
    __syncthreads();
  }
}

// The outlook of a tile of queries: blocks are (tile, head).
__global__ void __launch_bounds__(kThreads, 2) lookOut(const Attention a, const Gradient g) {
  GPU_DYNAMIC_SHARED(memory);
  float* const stages = reinterpret_cast<float*>(memory);
  const int query = static_cast<int>(blockIdx.x) * kTile;
  GPU_NO_UNROLL
  for (int head = static_cast<int>(blockIdx.z); head < a.batch * a.heads; head += static_cast<int>(gridDim.z)) {
    const int mask = maskStart(a, head);
    const Rows queries = headOf(a, g.q, head), keys = headOf(a, g.k, head);
    const Rows values = headOf(a, g.v, head), gradients = headOf(a, g.dy, head);
    Progress rows[kEach];
    float along[kEach] = {};
    const int end = keysOf(a, query + kTile);
    GPU_NO_UNROLL
    for (int key = 0; key < end; key += kTile) {
      float weights[kEach][kEach], slopes[kEach][kEach];
      multiplyRows(queries, query, keys, key, stages, weights, [] {});
      multiplyRows(gradients, query, values, key, stages, slopes, [] {});
      GPU_UNROLL
      for (int i = 0; i < kEach; i++) {
        GPU_UNROLL
        for (int j = 0; j < kEach; j++)
          weights[i][j] = scoreOf(a, mask, query + threadRow() + kSide * i, key + threadColumn() + kSide * j, weights[i][j]);
        const float shrunk = rows[i].take(weights[i]);
        float sum = 0;
        GPU_UNROLL
        for (int j = 0; j < kEach; j++) sum = gpu::fma(weights[i][j], slopes[i][j], sum);
        along[i] = along[i] * shrunk + rowSum(sum);
      }
    }
    GPU_UNROLL
    for (int i = 0; i < kEach; i++) {
      const int row = query + threadRow() + kSide * i;
      if (threadColumn() > 0 || row >= a.queries) continue;
      const float inverse = rows[i].total == 0 ? 0.0f : gpu::divide(1.0f, rows[i].total);
      const float largest = rows[i].largest == -INFINITY ? 0.0f : rows[i].largest;
      g.outlooks[static_cast<int64_t>(head) * a.queries + row] = {largest, inverse, along[i] * inverse};
    }
    __syncthreads();
  }
}

// From the products of a query with a key and of a gradient with a value: the weight, and the first product's gradient.
__device__ __forceinline__ void weigh(const Attention& a, int mask, int query, int key, const Outlook& outlook, float& product,
                                      float& slope) {
  const float weight = exponential(scoreOf(a, mask, query, key, product) - outlook.largest) * outlook.inverse;
  slope = weight * (slope - outlook.mean) * a.scale;
  product = weight;
}

__device__ __forceinline__ Outlook outlookOf(const Attention& a, const Gradient& g, int head, int query) {
  return query < a.queries ? g.outlooks[static_cast<int64_t>(head) * a.queries + query] : Outlook{0, 0, 0};
}

// dq of a tile of queries: blocks are (tile, -, head).
template <bool deep>
__global__ void __launch_bounds__(kThreads, 2) ofQueries(const Attention a, const Gradient g) {
  GPU_DYNAMIC_SHARED(memory);
  float* const stages = reinterpret_cast<float*>(memory);
  float* const values = stages + 2 * kRowsStage;
  const int query = static_cast<int>(blockIdx.x) * kTile;
  GPU_NO_UNROLL
  for (int head = static_cast<int>(blockIdx.z); head < a.batch * a.heads; head += static_cast<int>(gridDim.z)) {
    const int mask = maskStart(a, head);
    const Rows queries = headOf(a, g.q, head), keys = headOf(a, g.k, head);
    const Rows ofValues = headOf(a, g.v, head), gradients = headOf(a, g.dy, head);
    float sums[kEach][kWide / kSide] = {};
    const int end = keysOf(a, query + kTile);
    GPU_NO_UNROLL
    for (int key = 0; key < end; key += kTile) {
      float weights[kEach][kEach], slopes[kEach][kEach];
      multiplyRows(queries, query, keys, key, stages, weights, [] {});
      multiplyRows(gradients, query, ofValues, key, stages, slopes,
                   [&] { stage<kTile, kWide, kWide>(keys, key, 0, values); });
      gpu::commitCopies();
      GPU_UNROLL
      for (int i = 0; i < kEach; i++) {
        const int row = query + threadRow() + kSide * i;
        const Outlook outlook = outlookOf(a, g, head, row);
        GPU_UNROLL
        for (int j = 0; j < kEach; j++)
          weigh(a, mask, row, key + threadColumn() + kSide * j, outlook, weights[i][j], slopes[i][j]);
      }
      __syncthreads();
      putWeights(slopes, stages);
      addRows<deep>(stages, keys, key, values, headOf(a, g.dq, head), query, key == 0, sums);
    }
    finishRows<deep>(headOf(a, g.dq, head), query, end == 0, sums);
    __syncthreads();
  }
}

// dk and dv of a tile of keys: blocks are (tile, -, head).
template <bool deep>
__global__ void __launch_bounds__(kThreads, 2) ofKeys(const Attention a, const Gradient g) {
  GPU_DYNAMIC_SHARED(memory);
  float* const stages = reinterpret_cast<float*>(memory);
  float *const ofGradients = stages + 2 * kRowsStage, *const ofQueries = ofGradients + kValuesStage;
  const int key = static_cast<int>(blockIdx.x) * kTile, begin = a.causal ? key : 0;
  GPU_NO_UNROLL
  for (int head = static_cast<int>(blockIdx.z); head < a.batch * a.heads; head += static_cast<int>(gridDim.z)) {
    const int mask = maskStart(a, head);
    const Rows queries = headOf(a, g.q, head), keys = headOf(a, g.k, head);
    const Rows values = headOf(a, g.v, head), gradients = headOf(a, g.dy, head);
    float sumsK[kEach][kWide / kSide] = {}, sumsV[kEach][kWide / kSide] = {};
    GPU_NO_UNROLL
    for (int query = begin; query < a.queries; query += kTile) {
      float weights[kEach][kEach], slopes[kEach][kEach];
      multiplyRows(keys, key, queries, query, stages, weights, [] {});
      multiplyRows(values, key, gradients, query, stages, slopes, [&] {
        stage<kTile, kWide, kWide>(gradients, query, 0, ofGradients);
        stage<kTile, kWide, kWide>(queries, query, 0, ofQueries);
      });
      gpu::commitCopies();
      GPU_UNROLL
      for (int j = 0; j < kEach; j++) {
        const int row = query + threadColumn() + kSide * j;
        const Outlook outlook = outlookOf(a, g, head, row);
        GPU_UNROLL
        for (int i = 0; i < kEach; i++)
          weigh(a, mask, row, key + threadRow() + kSide * i, outlook, weights[i][j], slopes[i][j]);
      }
      __syncthreads();
      putWeights(weights, stages);
      addRows<deep>(stages, gradients, query, ofGradients, headOf(a, g.dv, head), key, query == begin, sumsV);
      __syncthreads();
      putWeights(slopes, stages);
      addRows<deep>(stages, queries, query, ofQueries, headOf(a, g.dk, head), key, query == begin, sumsK);
    }
    finishRows<deep>(headOf(a, g.dv, head), key, begin >= a.queries, sumsV);
    finishRows<deep>(headOf(a, g.dk, head), key, begin >= a.queries, sumsK);
    __syncthreads();
  }
}

void expectOperands(const Command& command, int maskAt) {
  bool good = command.output.dtype == DType::f32;
  for (int i = 0; i < maskAt; i++) good = good && command.inputs[i].dtype == DType::f32;
  if (!good || (command.has(maskAt) && !isWord(command.inputs[maskAt].dtype)))
    Launch::refuse("expected float32 operands and a float32 or int32 mask");
}

Attention attentionOf(Command& command, int maskAt) {
  const Operand &q = command.inputs[0], &k = command.inputs[1];
  Attention a{};
  a.heads = static_cast<int>(command.attributes.i());
  a.scale = static_cast<float>(command.attributes.f());
  a.causal = command.attributes.b();
  a.batch = countOf(q.dim(0) * a.heads, "heads") / a.heads;
  a.queries = countOf(q.dim(1), "queries");
  a.keys = countOf(k.dim(1), "keys");
  if (command.has(maskAt)) {
    const Operand& mask = command.inputs[maskAt];
    int64_t strides[kMaxRank];
    broadcastStrides(mask, 4, strides);
    countOf(mask.rows() * mask.pitch, "elements of a mask");
    const auto stride = [&](int axis) { return static_cast<int>(strides[axis]); };
    a.mask = {mask.data, mask.dtype == DType::f32, stride(0), stride(1), stride(2), stride(3)};
  }
  return a;
}

Operands operandsOf(const Attention& a, float* data, int64_t pitch, int64_t length, int64_t channels) {
  const int width = static_cast<int>(channels / a.heads);
  return {data, countOf(pitch, "channels"), static_cast<int>(length), width, aligned16(data) && pitch % 4 == 0 && width % 4 == 0};
}
Operands operandsOf(const Attention& a, const Operand& x) {
  return operandsOf(a, x.as<float>(), x.pitch, x.dim(1), x.dim(2));
}

size_t sharedBytes(int valuesStages) {
  return static_cast<size_t>(2 * kRowsStage + valuesStages * kValuesStage) * sizeof(float);
}

void attendInFloat32(const Attention& a, const Operands& q, const Operands& k, const Operands& v, const Operands& y,
                     Launch& launch) {
  const dim3 block(kThreads);
  if (v.width <= kWide)
    GPU_LAUNCH_SHARED(attend<kWide>, gridOf(a, a.queries, kTile, 1), block, sharedBytes(1), launch.stream(), a, q, k, v, y);
  else
    GPU_LAUNCH_SHARED(attend<2 * kWide>, gridOf(a, a.queries, kTile, ceilDivide(v.width, 2 * kWide)), block, sharedBytes(1),
                      launch.stream(), a, q, k, v, y);
}

// Heads without channels have no products.
Precision precisionOf(const Operands& q, const Operands& v, const Launch& launch) {
  return q.width == 0 || v.width == 0 ? Precision::float32 : launch.precision();
}

void attention(Command& command, Launch& launch) {
  expectOperands(command, 3);
  if (command.output.size() == 0) return;
  const Attention a = attentionOf(command, 3);
  const Operands q = operandsOf(a, command.inputs[0]), k = operandsOf(a, command.inputs[1]);
  const Operands v = operandsOf(a, command.inputs[2]), y = operandsOf(a, command.output);
  switch (precisionOf(q, v, launch)) {
    case Precision::float32: return attendInFloat32(a, q, k, v, y, launch);
    case Precision::tf32: return attendOnTensorCores<Precision::tf32>(a, q, k, v, y, launch);
    case Precision::bf16: return attendOnTensorCores<Precision::bf16>(a, q, k, v, y, launch);
  }
}

template <bool deep>
void differentiate(const Attention& a, const Gradient& g, Launch& launch) {
  const dim3 block(kThreads);
  if (a.queries > 0) {
    GPU_LAUNCH_SHARED(lookOut, gridOf(a, a.queries, kTile, 1), block, sharedBytes(0), launch.stream(), a, g);
    GPU_LAUNCH_SHARED(ofQueries<deep>, gridOf(a, a.queries, kTile, 1), block, sharedBytes(1), launch.stream(), a, g);
  }
  if (a.keys > 0)
    GPU_LAUNCH_SHARED(ofKeys<deep>, gridOf(a, a.keys, kTile, 1), block, sharedBytes(2), launch.stream(), a, g);
}

void differentiateInFloat32(const Attention& a, const Gradient& g, Launch& launch) {
  if (g.q.width > kWide || g.v.width > kWide) differentiate<true>(a, g, launch);
  else differentiate<false>(a, g, launch);
}

// One flat output: dq, dk and dv, each as q, k and v without pitches.
void attentionGradient(Command& command, Launch& launch) {
  expectOperands(command, 4);
  const Operand &q = command.inputs[0], &k = command.inputs[1], &v = command.inputs[2], &dy = command.inputs[3];
  const Attention a = attentionOf(command, 4);
  if (a.batch == 0) return;
  float *const dq = command.output.as<float>(), *const dk = dq + q.size(), *const dv = dk + k.size();
  const auto dense = [&](float* data, const Operand& x) { return operandsOf(a, data, x.dim(2), x.dim(1), x.dim(2)); };
  const size_t rows = static_cast<size_t>(a.batch) * static_cast<size_t>(a.heads) * static_cast<size_t>(a.queries);
  const Gradient g = {operandsOf(a, q), operandsOf(a, k), operandsOf(a, v), operandsOf(a, dy),
                      dense(dq, q), dense(dk, k), dense(dv, v),
                      static_cast<Outlook*>(launch.scratch((rows + 1) * sizeof(Outlook)))};
  switch (precisionOf(g.q, g.v, launch)) {
    case Precision::float32: return differentiateInFloat32(a, g, launch);
    case Precision::tf32: return differentiateOnTensorCores<Precision::tf32>(a, g, launch);
    case Precision::bf16: return differentiateOnTensorCores<Precision::bf16>(a, g, launch);
  }
}

}  // namespace

LANGEVIN_CUDA_KERNEL("attention", "heads:int,scale:float,causal:bool", attention)
LANGEVIN_CUDA_KERNEL("attentionGradient", "heads:int,scale:float,causal:bool", attentionGradient)

}  // namespace cuda
}  // namespace langevin
