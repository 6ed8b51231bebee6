// attention and attentionGradient on tensor cores, in tf32 and bf16, as FlashAttention-2 does it (Dao 2023).
//
// A block of eight warps owns 128 rows (queries, or keys where gradients of keys or values are wanted), a warp 16 of them, and
// meets the others, tile by tile. Scores stay in a warp's registers, and so do the sums over what they weigh: accumulators of
// the first product, rounded, are the first operand of the second one. In bf16 a lane's accumulators lie as that operand wants
// them. In tf32 a lane has columns 2 i and 2 i + 1 where the operand has k of i and i + 4; the order of k being free, those
// columns are called so, and the second operand's rows with them.
//
// Operands are float32 in global memory. What is met goes through registers, is rounded there, once a block, and lies rounded
// in shared memory, in tiles of 32 or 64 rows and 128 bytes of channels: the next tile is under way from global memory while
// warps multiply with this one. So a tile of 64 rows costs shared memory 8 KB of writes and 64 KB of reads by eight warps, 576
// cycles at 128 bytes each, for 256 products of 16 x 8 x 16 (512 cycles of an A100's tensor cores, 430 of an H100's at the rate
// of mma.sync). Copied asynchronously as float32 and rounded by each warp that reads it, bf16 would take twice that; rounded by
// way of a float32 stage, half more. What is owned is read once, straight from global memory as lanes need it, and waits,
// rounded, in shared memory, 16 bytes a lane and step of k; what finds no room there (99 KB on the smallest GPUs hold 256
// channels of bf16, 227 KB of an H100 768) is read again for each tile, mostly from the first-level cache.
//
// Nothing but operands of products is rounded: scores, maxima, sums of weights and gradients of scores are float32. Powers of
// two are the hardware's, within 2^-22; a weight is rounded to 2^-11 or 2^-8 next.
//
// Backward takes four kernels: outlooks of queries, then each of dq, dk and dv by itself, 10 products in all where 5 would do
// if blocks added to each other's sums in whatever order. Blocks of dk and dv apart hold half the sums, so that heads of up to
// 256 channels have theirs in registers; wider ones are shared out to blocks that all compute the scores.
//
// With 64 channels of sums threads take 128 registers, and two blocks run on a multiprocessor, one's softmax beside the other's
// products; with more, up to 250, and one block. For a head of 64 channels in bf16, a warp's 64 products go with 32 powers (a
// quarter of an A100's tensor time on another unit) and some 200 other instructions a tile of keys: shared memory and these
// should leave tensor cores busy half of the time or a little more.
#include <type_traits>

#include "attention.cuh"

namespace langevin {
namespace cuda {

// With a name, or compilers would warn that kernels of targets without tensor cores call nothing of it.
namespace flash {

constexpr int kWarps = 8, kThreads = 32 * kWarps, kOwn = 16 * kWarps;  // rows of a block
// Eight rows begin at different banks, whether ldmatrix reads them or lanes two rows apart.
constexpr int kRowBytes = 128, kPitch = kRowBytes + 16;
constexpr int kMostRows = 64;  // of a tile
constexpr int kTilesBytes = 2 * kMostRows * kPitch, kOutlooksBytes = kOwn * static_cast<int>(sizeof(Outlook));
constexpr int kStepBytes = kThreads * static_cast<int>(sizeof(uint4));
constexpr int kSteps = 4;  // of k in a tile's channels, in either format
constexpr int kWidest = 256;  // columns of a block

__device__ __forceinline__ int thread() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int lane() { return thread() % 32; }
// The first row of a warp within its block; a lane has row laneRow and the eighth after it, and of each eight columns laneColumn
// and the next.
__device__ __forceinline__ int warpRow() { return thread() / 32 * 16; }
__device__ __forceinline__ int laneRow() { return warpRow() + lane() / 4; }
__device__ __forceinline__ int laneColumn() { return lane() % 4 * 2; }

__device__ __forceinline__ const float* addressIn(const Rows& x, int row, int channel) {
  return x.data + static_cast<int64_t>(row) * x.pitch + channel;
}
__device__ __forceinline__ float elementOf(const Rows& x, int row, int channel) {
  return row < x.length && channel < x.width ? *addressIn(x, row, channel) : 0.0f;
}
__device__ __forceinline__ float2 pairOf(const Rows& x, int row, int channel) {
  if (!x.vectors) return {elementOf(x, row, channel), elementOf(x, row, channel + 1)};
  return row < x.length && channel < x.width ? *reinterpret_cast<const float2*>(addressIn(x, row, channel)) : float2{0, 0};
}
// Four of which `count` are there.
__device__ __forceinline__ float4 quadAt(const float* from, bool vectors, int count) {
  if (count <= 0) return {0, 0, 0, 0};
  if (vectors) return gpu::loadStreamed(reinterpret_cast<const float4*>(from));
  return {from[0], count > 1 ? from[1] : 0.0f, count > 2 ? from[2] : 0.0f, count > 3 ? from[3] : 0.0f};
}

// How a precision lays out what it multiplies.
template <Precision precision>
struct Format;

template <>
struct Format<Precision::bf16> {
  static constexpr int terms = 16;  // of a product
  static constexpr int channels = kRowBytes / 2;

  __device__ static __forceinline__ void put(const float4& x, unsigned char* row, int channel) {
    *reinterpret_cast<uint2*>(row + 2 * channel) = uint2{gpu::packBf16(x.x, x.y), gpu::packBf16(x.z, x.w)};
  }

  // The lane's part of rows `row` and the eighth after it as first operands, at the product's k from `channel` on.
  __device__ static __forceinline__ uint4 firstOperand(const Rows& x, int row, int channel) {
    const auto part = [&](int below, int right) {
      const float2 pair = pairOf(x, row + below, channel + laneColumn() + right);
      return gpu::packBf16(pair.x, pair.y);
    };
    return {part(0, 0), part(8, 0), part(0, 8), part(8, 8)};
  }

  // Accumulators of `terms` columns as a first operand.
  __device__ static __forceinline__ void firstOperand(const float (*sums)[4], uint32_t (&x)[4]) {
    GPU_UNROLL
    for (int i = 0; i < 4; i++) x[i] = gpu::packBf16(sums[i / 2][i % 2 * 2], sums[i / 2][i % 2 * 2 + 1]);
  }

  // Sixteen columns of a tile, as the second operands of two products over its rows from terms * step on.
  __device__ static __forceinline__ void secondOperands(const unsigned char* tile, int step, int column, uint32_t (&y)[4]) {
    gpu::ldmatrixTransposed(y, tile + (terms * step + lane() % 16) * kPitch + 2 * (column + lane() / 16 * 8));
  }

  __device__ static __forceinline__ void multiply(float (&sums)[4], const uint32_t (&x)[4], uint32_t y0, uint32_t y1) {
    const uint32_t y[2] = {y0, y1};
    gpu::mmaBf16(sums, x, y);
  }
};

template <>
struct Format<Precision::tf32> {
  static constexpr int terms = 8;
  static constexpr int channels = kRowBytes / 4;

  __device__ static __forceinline__ void put(const float4& x, unsigned char* row, int channel) {
    *reinterpret_cast<uint4*>(row + 4 * channel) = uint4{gpu::toTf32(x.x), gpu::toTf32(x.y), gpu::toTf32(x.z), gpu::toTf32(x.w)};
  }
  __device__ static __forceinline__ uint4 firstOperand(const Rows& x, int row, int channel) {
    const auto part = [&](int below, int right) { return gpu::toTf32(elementOf(x, row + below, channel + lane() % 4 + right)); };
    return {part(0, 0), part(8, 0), part(0, 4), part(8, 4)};
  }
  __device__ static __forceinline__ void firstOperand(const float (*sums)[4], uint32_t (&x)[4]) {
    GPU_UNROLL
    for (int i = 0; i < 4; i++) x[i] = gpu::toTf32(sums[0][i % 2 * 2 + i / 2]);
  }
  // ldmatrix transposes halves of words alone.
  __device__ static __forceinline__ void secondOperands(const unsigned char* tile, int step, int column, uint32_t (&y)[4]) {
    const unsigned char* const at = tile + (terms * step + laneColumn()) * kPitch + 4 * (column + lane() / 4);
    GPU_UNROLL
    for (int i = 0; i < 4; i++) y[i] = *reinterpret_cast<const uint32_t*>(at + i % 2 * kPitch + i / 2 * 32);
  }
  __device__ static __forceinline__ void multiply(float (&sums)[4], const uint32_t (&x)[4], uint32_t y0, uint32_t y1) {
    const uint32_t y[2] = {y0, y1};
    gpu::mmaTf32(sums, x, y);
  }
};

// How many steps of k have room in shared memory: of each operand whose rows a block owns, and, where not all of them have, of
// kSteps that come and go.
struct Room {
  int first, second, passing;
  LANGEVIN_HD constexpr int steps() const { return first + second + passing; }
};

// The rows that a block owns, as first operands.
template <Precision precision>
class Own {
 public:
  // The first `room` steps of k are kept, each lane's part where no other lane looks; four others pass by at a time. All
  // threads find the rows in `place` after the next barrier.
  __device__ __forceinline__ Own(const Rows& rows, int first, Rows* place, unsigned char* kept, int room, unsigned char* passing)
      : rows_(place), first_(first), room_(room), kept_(reinterpret_cast<uint4*>(kept) + thread()),
        passing_(reinterpret_cast<uint4*>(passing) + thread()) {
    if (thread() == 0) *place = rows;
    read(rows, 0, room_, kept_);
  }

  // The lane's parts of the kSteps from `step` on lie there, kThreads apart, until it asks for others.
  __device__ __forceinline__ const uint4* from(int step) const {
    if (step < room_) return kept_ + step * kThreads;
    read(*rows_, step, kSteps, passing_);
    return passing_;
  }

 private:
  __device__ __forceinline__ void read(const Rows& rows, int step, int count, uint4* to) const {
    GPU_NO_UNROLL
    for (int i = 0; i < count; i++)
      to[i * kThreads] = Format<precision>::firstOperand(rows, first_ + laneRow(), (step + i) * Format<precision>::terms);
  }

  const Rows* rows_;
  int first_, room_;
  uint4 *kept_, *passing_;
};

// Channels that a product takes of the rows that are met.
struct Leg {
  Rows rows;
  int begin, end;
};
constexpr int kMostLegs = 3;
constexpr int kStaticBytes = 256;  // legs and owned rows, up to where the rest is aligned
static_assert(kMostLegs * sizeof(Leg) + 2 * sizeof(Rows) <= kStaticBytes, "static shared memory is counted");

// The tiles that a block meets: for each `rows` rows the channels of all legs, one leg after the other.
template <Precision precision, int rows>
class Belt {
 public:
  // Rows from `row` to `end`, for warps that are `busy`, though all help to bring them. All threads must have done with the belt
  // before.
  template <class... Legs>
  __device__ __forceinline__ Belt(unsigned char* tiles, Leg* legs, bool busy, int row, int end, const Legs&... given)
      : tiles_(tiles), legs_(legs), legCount_(sizeof...(given)), busy_(busy), row_(row), end_(end) {
    const Leg all[] = {given...};
    if (thread() == 0) {
      GPU_UNROLL
      for (int i = 0; i < legCount_; i++) legs_[i] = all[i];
    }
    __syncthreads();
    channel_ = legs_[0].begin;
    load();
  }

  // The next tile, which stays until the call after the next one; null for warps that have nothing to do.
  __device__ __forceinline__ const unsigned char* next() {
    unsigned char* const tile = tiles_ + turn_ * (rows * kPitch);
    turn_ ^= 1;
    GPU_UNROLL
    for (int i = 0; i < kLoads; i++)
      Format<precision>::put(loaded_[i], tile + (threadRow() + i * kRowsAtATime) * kPitch, threadChannel());
    gpu::waitCopies<0>();
    __syncthreads();
    load();
    return busy_ ? tile : nullptr;
  }

 private:
  static constexpr int kPerRow = Format<precision>::channels / 4, kRowsAtATime = kThreads / kPerRow;
  static constexpr int kLoads = rows / kRowsAtATime;

  __device__ static __forceinline__ int threadRow() { return thread() / kPerRow; }
  __device__ static __forceinline__ int threadChannel() { return thread() % kPerRow * 4; }

  // Starts to read the tile at hand, and goes on to the one after it.
  __device__ __forceinline__ void load() {
    if (row_ >= end_) return;
    const Leg& leg = legs_[leg_];
    const int row = row_ + threadRow(), channel = channel_ + threadChannel();
    const float* from = addressIn(leg.rows, row, channel);
    GPU_UNROLL
    for (int i = 0; i < kLoads; i++, from += kRowsAtATime * leg.rows.pitch)
      loaded_[i] = quadAt(from, leg.rows.vectors, row + i * kRowsAtATime < leg.rows.length ? leg.end - channel : 0);
    channel_ += Format<precision>::channels;
    if (channel_ < leg.end) return;
    leg_++;
    if (leg_ == legCount_) leg_ = 0, row_ += rows;
    channel_ = legs_[leg_].begin;
  }

  unsigned char* const tiles_;
  Leg* const legs_;
  const int legCount_;
  const bool busy_;
  int row_;
  const int end_;
  int leg_ = 0, channel_, turn_ = 0;
  float4 loaded_[kLoads];
};

// sums += the rows that the block owns times those of the next tiles, over so many channels: 8 columns for 8 of a tile's rows.
template <Precision precision, int rows>
__device__ __forceinline__ void multiplyRows(const Own<precision>& own, Belt<precision, rows>& belt, int channels,
                                             float (&sums)[rows / 8][4]) {
  GPU_UNROLL
  for (int i = 0; i < rows / 8; i++) sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0;
  const int steps = (channels + Format<precision>::terms - 1) / Format<precision>::terms;
  int first = 0;
  GPU_NO_UNROLL
  do {
    // Bytes of k lie alike in both formats.
    const uint4* const parts = own.from(first);
    const unsigned char* const tile = belt.next();
    if (tile == nullptr) continue;
    const unsigned char* const at = tile + (lane() / 16 * 8 + lane() % 8) * kPitch + lane() / 8 % 2 * 16;
    GPU_UNROLL
    for (int step = 0; step < kSteps; step++) {
      if (first + step >= steps) break;
      const uint4 part = parts[step * kThreads];
      const uint32_t x[4] = {part.x, part.y, part.z, part.w};
      GPU_UNROLL
      for (int i = 0; i < rows / 16; i++) {
        uint32_t y[4];
        gpu::ldmatrix(y, at + 16 * i * kPitch + 32 * step);
        Format<precision>::multiply(sums[2 * i], x, y[0], y[1]);
        Format<precision>::multiply(sums[2 * i + 1], x, y[2], y[3]);
      }
    }
  } while ((first += kSteps) < steps);
}

// Weights of a tile's rows, as first operands.
template <Precision precision, int rows>
struct Weights {
  static constexpr int steps = rows / Format<precision>::terms;
  uint32_t x[steps][4];

  __device__ __forceinline__ explicit Weights(const float (&weights)[rows / 8][4]) {
    GPU_UNROLL
    for (int step = 0; step < steps; step++) Format<precision>::firstOperand(weights + step * (rows / 8) / steps, x[step]);
  }
};

// sums += weights times the rows of the next tiles, `columns` of their columns. `meanwhile` is called when all threads are done
// with what they did before.
template <int width, Precision precision, int rows, class Meanwhile>
__device__ __forceinline__ void addRows(const Weights<precision, rows>& weights, Belt<precision, rows>& belt, int columns,
                                        float (&sums)[width / 8][4], const Meanwhile& meanwhile) {
  constexpr int channels = Format<precision>::channels;
  GPU_NO_UNROLL
  for (int first = 0; first < columns; first += channels) {
    const unsigned char* const tile = belt.next();
    if (first == 0) meanwhile();
    if (tile == nullptr) continue;
    // One of these: registers have no index.
    GPU_UNROLL
    for (int at = 0; at < width; at += channels) {
      if (at != first) continue;
      GPU_UNROLL
      for (int step = 0; step < weights.steps; step++) {
        GPU_UNROLL
        for (int column = 0; column < channels; column += 16) {
          if (first + column >= columns) break;
          uint32_t y[4];
          Format<precision>::secondOperands(tile, step, column, y);
          Format<precision>::multiply(sums[(at + column) / 8], weights.x[step], y[0], y[1]);
          Format<precision>::multiply(sums[(at + column) / 8 + 1], weights.x[step], y[2], y[3]);
        }
      }
    }
  }
}

// Stores the warp's rows, columns from `column` on.
template <int width>
__device__ __forceinline__ void storeRows(const float (&sums)[width / 8][4], const Rows& y, int first, int column) {
  const int place = gpu::opaque(lane());  // see forEachProduct
  GPU_UNROLL
  for (int half = 0; half < 2; half++) {
    const int row = first + warpRow() + place / 4 + 8 * half;
    if (row >= y.length) continue;
    GPU_UNROLL
    for (int i = 0; i < width / 8; i++) {
      const int at = column + 8 * i + place % 4 * 2;
      float* const to = y.data + static_cast<int64_t>(row) * y.pitch + at;
      if (y.vectors && at < y.width) {
        *reinterpret_cast<float2*>(to) = float2{sums[i][2 * half], sums[i][2 * half + 1]};
        continue;
      }
      if (at < y.width) to[0] = sums[i][2 * half];
      if (at + 1 < y.width) to[1] = sums[i][2 * half + 1];
    }
  }
}

// The columns of a block: one has all of them, unless there are more than kWidest.
template <int width>
__device__ __forceinline__ int firstColumn() {
  return width < kWidest ? 0 : static_cast<int>(blockIdx.y) * width;
}
template <int width>
__device__ __forceinline__ int columnsOf(const Rows& y) {
  const int left = y.width - firstColumn<width>();
  return width < kWidest || left < width ? left : width;
}

// Calls use(i, j, query, key) for the lane's elements of products of a warp's rows, from `own` on, with `rows` others.
template <int rows, bool keysOwned, class Use>
__device__ __forceinline__ void forEachProduct(int own, int met, const Use& use) {
  const int place = gpu::opaque(lane());  // or places would be worked out ahead, in as many registers
  GPU_UNROLL
  for (int i = 0; i < rows / 8; i++) {
    GPU_UNROLL
    for (int j = 0; j < 4; j++) {
      const int row = own + place / 4 + j / 2 * 8, column = met + 8 * i + place % 4 * 2 + j % 2;
      use(i, j, keysOwned ? column : row, keysOwned ? row : column);
    }
  }
}

// Turns these products into scores in powers of two, times log2 e; -Infinity where a query may not look.
template <int rows, bool keysOwned>
__device__ __forceinline__ void score(const Attention& a, int head, int own, int met, float (&products)[rows / 8][4]) {
  constexpr float log2E = 1.44269504f;
  GPU_UNROLL
  for (int i = 0; i < rows / 8; i++) {
    GPU_UNROLL
    for (int j = 0; j < 4; j++) products[i][j] *= a.scale * log2E;
  }
  const int firstQuery = keysOwned ? met : own, endKey = keysOwned ? own + 16 : met + rows;
  if (endKey > a.keys || (a.causal && endKey > firstQuery + 1))
    forEachProduct<rows, keysOwned>(own, met, [&](int i, int j, int query, int key) {
      if (key >= a.keys || (a.causal && key > query)) products[i][j] = -INFINITY;
    });
  if (a.mask.data == nullptr) return;
  const int mask = maskStart(a, gpu::opaque(head));
  forEachProduct<rows, keysOwned>(own, met, [&](int i, int j, int query, int key) {
    const bool inside = query < a.queries && key < a.keys;
    const int at = inside ? mask + query * a.mask.query + key * a.mask.key : mask;
    const uint32_t word = static_cast<const uint32_t*>(a.mask.data)[at];
    const float added = gpu::fma(gpu::floatFromBits(word), log2E, products[i][j]);
    products[i][j] = inside && (a.mask.added || word != 0) ? (a.mask.added ? added : products[i][j]) : -INFINITY;
  });
}

// Over the four lanes that share a row.
__device__ __forceinline__ float rowSum(float x) {
  x += __shfl_xor_sync(gpu::kAllLanes, x, 1);
  return x + __shfl_xor_sync(gpu::kAllLanes, x, 2);
}
__device__ __forceinline__ float rowLargest(float x) {
  x = larger(x, __shfl_xor_sync(gpu::kAllLanes, x, 1));
  return larger(x, __shfl_xor_sync(gpu::kAllLanes, x, 2));
}

// A row's largest score, and the lane's part of its sum of weights, tile by tile.
struct Progress {
  float largest = -INFINITY, total = 0;

  // Turns scores of one more tile, row `half` of the lane's two, into weights 2^(score - largest). Returns what earlier sums
  // shrink by.
  template <int pieces>
  __device__ __forceinline__ float take(float (&scores)[pieces][4], int half) {
    float found = -INFINITY;
    GPU_UNROLL
    for (int i = 0; i < pieces; i++) found = larger(larger(found, scores[i][2 * half]), scores[i][2 * half + 1]);
    const float before = largest;
    largest = larger(before, rowLargest(found));
    // Rows that may look nowhere have weights of 0.
    const float reference = largest == -INFINITY ? 0.0f : largest;
    float sum = 0;
    GPU_UNROLL
    for (int i = 0; i < pieces; i++) {
      GPU_UNROLL
      for (int j = 2 * half; j < 2 * half + 2; j++) {
        scores[i][j] = gpu::exp2(scores[i][j] - reference);
        sum += scores[i][j];
      }
    }
    const float shrunk = before == -INFINITY ? 0.0f : gpu::exp2(before - largest);
    total = total * shrunk + sum;
    return shrunk;
  }
};

// y of 128 queries and `width` channels of the values: blocks are (queries, channels, head).
template <Precision precision, int width>
__device__ __forceinline__ void attendRows(const Attention& a, const Operands& q, const Operands& k, const Operands& v,
                                           const Operands& y, Room room) {
  constexpr int rows = 64;
  GPU_DYNAMIC_SHARED(memory);
  GPU_SHARED(Leg, legs, kMostLegs);
  GPU_SHARED(Rows, places, 2);
  const int first = static_cast<int>(blockIdx.x) * kOwn, end = keysOf(a, first + kOwn);
  const int column = firstColumn<width>(), columns = columnsOf<width>(v);
  unsigned char *const kept = memory + kTilesBytes, *const passing = kept + room.first * kStepBytes;
  GPU_NO_UNROLL
  for (int head = static_cast<int>(blockIdx.z); head < a.batch * a.heads; head += static_cast<int>(gridDim.z)) {
    const Own<precision> own(headOf(a, q, head), first, places, kept, room.first, passing);
    Belt<precision, rows> belt(memory, legs, first + warpRow() < a.queries, 0, end, Leg{headOf(a, k, head), 0, q.width},
                               Leg{headOf(a, v, head), column, column + columns});
    Progress progress[2];
    float sums[width / 8][4] = {};
    GPU_NO_UNROLL
    for (int key = 0; key < end; key += rows) {
      float weights[rows / 8][4];
      multiplyRows(own, belt, q.width, weights);
      score<rows, false>(a, head, first + warpRow(), key, weights);
      GPU_UNROLL
      for (int half = 0; half < 2; half++) {
        const float shrunk = progress[half].take(weights, half);
        GPU_UNROLL
        for (int i = 0; i < width / 8; i++) sums[i][2 * half] *= shrunk, sums[i][2 * half + 1] *= shrunk;
      }
      addRows<width>(Weights<precision, rows>(weights), belt, columns, sums, [] {});
    }
    GPU_UNROLL
    for (int half = 0; half < 2; half++) {
      const float total = rowSum(progress[half].total), inverse = total == 0 ? 0.0f : gpu::divide(1.0f, total);
      GPU_UNROLL
      for (int i = 0; i < width / 8; i++) sums[i][2 * half] *= inverse, sums[i][2 * half + 1] *= inverse;
    }
    storeRows<width>(sums, headOf(a, y, head), first, column);
    __syncthreads();
  }
}

// Outlooks of 128 queries: blocks are (queries, -, head).
template <Precision precision>
__device__ __forceinline__ void lookOutRows(const Attention& a, const Gradient& g, Room room) {
  constexpr int rows = 32;
  GPU_DYNAMIC_SHARED(memory);
  GPU_SHARED(Leg, legs, kMostLegs);
  GPU_SHARED(Rows, places, 2);
  const int first = static_cast<int>(blockIdx.x) * kOwn, end = keysOf(a, first + kOwn);
  unsigned char *const kept = memory + kTilesBytes, *const alsoKept = kept + room.first * kStepBytes;
  unsigned char* const passing = alsoKept + room.second * kStepBytes;
  GPU_NO_UNROLL
  for (int head = static_cast<int>(blockIdx.z); head < a.batch * a.heads; head += static_cast<int>(gridDim.z)) {
    const Own<precision> queries(headOf(a, g.q, head), first, places, kept, room.first, passing);
    const Own<precision> gradients(headOf(a, g.dy, head), first, places + 1, alsoKept, room.second, passing);
    Belt<precision, rows> belt(memory, legs, first + warpRow() < a.queries, 0, end, Leg{headOf(a, g.k, head), 0, g.q.width},
                               Leg{headOf(a, g.v, head), 0, g.v.width});
    Progress progress[2];
    float along[2] = {};
    GPU_NO_UNROLL
    for (int key = 0; key < end; key += rows) {
      float weights[rows / 8][4], slopes[rows / 8][4];
      multiplyRows(queries, belt, g.q.width, weights);
      multiplyRows(gradients, belt, g.v.width, slopes);
      score<rows, false>(a, head, first + warpRow(), key, weights);
      GPU_UNROLL
      for (int half = 0; half < 2; half++) {
        along[half] *= progress[half].take(weights, half);
        GPU_UNROLL
        for (int i = 0; i < rows / 8; i++) {
          GPU_UNROLL
          for (int j = 2 * half; j < 2 * half + 2; j++) along[half] = gpu::fma(weights[i][j], slopes[i][j], along[half]);
        }
      }
    }
    GPU_UNROLL
    for (int half = 0; half < 2; half++) {
      const int row = first + laneRow() + 8 * half;
      const float total = rowSum(progress[half].total), mean = rowSum(along[half]);
      if (lane() % 4 > 0 || row >= a.queries) continue;
      const float inverse = total == 0 ? 0.0f : gpu::divide(1.0f, total);
      const float largest = progress[half].largest == -INFINITY ? 0.0f : progress[half].largest;
      g.outlooks[static_cast<int64_t>(head) * a.queries + row] = {largest, inverse, mean * inverse};
    }
    __syncthreads();
  }
}

enum class Target { q, k, v };

// From a score and the product of a gradient with a value: the weight, or the first product's gradient.
template <Target target>
__device__ __forceinline__ float weigh(const Attention& a, const Outlook& outlook, float score, float slope) {
  const float weight = gpu::exp2(score - outlook.largest) * outlook.inverse;
  return target == Target::v ? weight : weight * (slope - outlook.mean) * a.scale;
}

// One gradient of 128 rows, and `width` of its channels: blocks are (rows, channels, head).
template <Precision precision, Target target, int width>
__device__ __forceinline__ void differentiateRows(const Attention& a, const Gradient& g, Room room) {
  constexpr bool keysOwned = target != Target::q;
  constexpr int rows = target == Target::v && width > 64 ? 64 : 32;  // as registers allow
  GPU_DYNAMIC_SHARED(memory);
  GPU_SHARED(Leg, legs, kMostLegs);
  GPU_SHARED(Rows, places, 2);
  Outlook* const outlooks = reinterpret_cast<Outlook*>(memory + kTilesBytes);  // of queries, met or owned
  unsigned char *const kept = memory + kTilesBytes + kOutlooksBytes, *const alsoKept = kept + room.first * kStepBytes;
  unsigned char* const passing = alsoKept + room.second * kStepBytes;
  const Operands& y = target == Target::q ? g.dq : target == Target::k ? g.dk : g.dv;
  const int first = static_cast<int>(blockIdx.x) * kOwn, column = firstColumn<width>(), columns = columnsOf<width>(y);
  const int begin = keysOwned && a.causal ? first : 0, end = keysOwned ? a.queries : keysOf(a, first + kOwn);
  GPU_NO_UNROLL
  for (int head = static_cast<int>(blockIdx.z); head < a.batch * a.heads; head += static_cast<int>(gridDim.z)) {
    const Rows q = headOf(a, g.q, head), k = headOf(a, g.k, head), v = headOf(a, g.v, head), dy = headOf(a, g.dy, head);
    const Outlook* const all = g.outlooks + static_cast<int64_t>(head) * a.queries;
    const auto look = [&](int query) {
      const bool inside = query + thread() < a.queries;
      if (thread() < (keysOwned ? rows : kOwn))
        gpu::copyAsync<16>(outlooks + thread(), inside ? all + query + thread() : all, inside);
      gpu::commitCopies();
    };
    const Own<precision> own(keysOwned ? k : q, first, places, kept, room.first, passing);
    const Own<precision> other(keysOwned ? v : dy, first, places + 1, alsoKept, room.second, passing);
    const Leg ofScores{keysOwned ? q : k, 0, q.width}, ofSlopes{keysOwned ? dy : v, 0, v.width};
    const Leg ofSums{target == Target::q ? k : target == Target::k ? q : dy, column, column + columns};
    const bool busy = first + warpRow() < y.length;
    Belt<precision, rows> belt = [&] {
      if constexpr (target == Target::v) return Belt<precision, rows>(memory, legs, busy, begin, end, ofScores, ofSums);
      else return Belt<precision, rows>(memory, legs, busy, begin, end, ofScores, ofSlopes, ofSums);
    }();
    look(keysOwned ? begin : first);
    float sums[width / 8][4] = {};
    GPU_NO_UNROLL
    for (int met = begin; met < end; met += rows) {
      float weights[rows / 8][4], slopes[rows / 8][4] = {};
      multiplyRows(own, belt, g.q.width, weights);
      if constexpr (target != Target::v) multiplyRows(other, belt, g.v.width, slopes);
      score<rows, keysOwned>(a, head, first + warpRow(), met, weights);
      GPU_UNROLL
      for (int i = 0; i < rows / 8; i++) {
        GPU_UNROLL
        for (int j = 0; j < 4; j++) {
          const Outlook& outlook = outlooks[keysOwned ? 8 * i + laneColumn() + j % 2 : laneRow() + j / 2 * 8];
          weights[i][j] = weigh<target>(a, outlook, weights[i][j], slopes[i][j]);
        }
      }
      addRows<width>(Weights<precision, rows>(weights), belt, columns, sums, [&] {
        if (keysOwned) look(met + rows);
      });
    }
    storeRows<width>(sums, headOf(a, y, head), first, column);
    gpu::waitCopies<0>();
    __syncthreads();
  }
}

}  // namespace flash

namespace {

using namespace flash;

template <Precision precision, int width>
__global__ void __launch_bounds__(kThreads, width > 64 ? 1 : 2)
    attend(const Attention a, const Operands q, const Operands k, const Operands v, const Operands y, const Room room) {
  if constexpr (gpu::kTensorCores) attendRows<precision, width>(a, q, k, v, y, room);
  else gpu::trap();
}

template <Precision precision>
__global__ void __launch_bounds__(kThreads, 2) lookOut(const Attention a, const Gradient g, const Room room) {
  if constexpr (gpu::kTensorCores) lookOutRows<precision>(a, g, room);
  else gpu::trap();
}

template <Precision precision, Target target, int width>
__global__ void __launch_bounds__(kThreads, width > 64 ? 1 : 2)
    differentiate(const Attention a, const Gradient g, const Room room) {
  if constexpr (gpu::kTensorCores) differentiateRows<precision, target, width>(a, g, room);
  else gpu::trap();
}

// Room for operands of so many channels, the second of which may be missing.
template <Precision precision>
Room roomOf(int first, int second, const Launch& launch) {
  const auto wanted = [](int channels) {
    return static_cast<int>(ceilDivide(channels, kSteps * Format<precision>::terms)) * kSteps;
  };
  const auto least = [](int a, int b) { return a < b ? a : b; };
  const int most = (launch.sharedBytes() - kTilesBytes - kOutlooksBytes - kStaticBytes) / (kSteps * kStepBytes) * kSteps;
  const int all = wanted(first) + wanted(second), passing = all > most ? kSteps : 0;
  Room room{least(wanted(first), most - passing), 0, passing};
  room.second = least(wanted(second), most - passing - room.first);
  return room;
}

size_t sharedBytes(Room room) { return static_cast<size_t>(kTilesBytes + kOutlooksBytes + room.steps() * kStepBytes); }

// Calls launch(width, chunks), the channels of a block as a constant and how many blocks share a row's `channels`.
template <class F>
void inChunks(int channels, const F& launch) {
  if (channels <= 64) launch(std::integral_constant<int, 64>{}, 1);
  else if (channels <= 128) launch(std::integral_constant<int, 128>{}, 1);
  else launch(std::integral_constant<int, kWidest>{}, ceilDivide(channels, kWidest));
}

template <Precision precision, Target target>
void enqueue(const Attention& a, const Gradient& g, Launch& launch) {
  const Operands& y = target == Target::q ? g.dq : target == Target::k ? g.dk : g.dv;
  if (y.length == 0 || y.width == 0) return;
  const Room room = roomOf<precision>(g.q.width, target == Target::v ? 0 : g.v.width, launch);
  inChunks(y.width, [&](auto width, int64_t chunks) {
    GPU_LAUNCH_SHARED((differentiate<precision, target, width.value>), gridOf(a, y.length, kOwn, chunks), dim3(kThreads),
                      sharedBytes(room), launch.stream(), a, g, room);
  });
}

}  // namespace

template <Precision precision>
void attendOnTensorCores(const Attention& a, const Operands& q, const Operands& k, const Operands& v, const Operands& y,
                         Launch& launch) {
  const Room room = roomOf<precision>(q.width, 0, launch);
  inChunks(v.width, [&](auto width, int64_t chunks) {
    GPU_LAUNCH_SHARED((attend<precision, width.value>), gridOf(a, a.queries, kOwn, chunks), dim3(kThreads), sharedBytes(room),
                      launch.stream(), a, q, k, v, y, room);
  });
}

template <Precision precision>
void differentiateOnTensorCores(const Attention& a, const Gradient& g, Launch& launch) {
  const Room room = roomOf<precision>(g.q.width, g.v.width, launch);
  if (a.queries > 0)
    GPU_LAUNCH_SHARED(lookOut<precision>, gridOf(a, a.queries, kOwn, 1), dim3(kThreads), sharedBytes(room), launch.stream(), a, g,
                      room);
  enqueue<precision, Target::q>(a, g, launch);
  enqueue<precision, Target::k>(a, g, launch);
  enqueue<precision, Target::v>(a, g, launch);
}

template void attendOnTensorCores<Precision::tf32>(const Attention&, const Operands&, const Operands&, const Operands&,
                                                   const Operands&, Launch&);
template void attendOnTensorCores<Precision::bf16>(const Attention&, const Operands&, const Operands&, const Operands&,
                                                   const Operands&, Launch&);
template void differentiateOnTensorCores<Precision::tf32>(const Attention&, const Gradient&, Launch&);
template void differentiateOnTensorCores<Precision::bf16>(const Attention&, const Gradient&, Launch&);

}  // namespace cuda
}  // namespace langevin
