// The interpreter of the persistent sampler (native/cuda/persistent): a block runs the instructions of one image, step after step.
//
// Products on tensor cores are those of `Pieces`. For float32 each operand is big + small, both tf32, and a product is
// small big + big small + big big: what is left out is a 2^-22nd of it (Markidis et al. 2018, Ootomo and Yokota 2022). Tensor
// cores cut off what they add up, so that their sums are short: each step begins at zero, and float32 cores add the steps.
// By fma, a thread adds up a tile of four pixels and four channels. Where an output has too few units or tiles to keep a block
// busy, the sum is shared out in parts, which are then added in order: all of that follows from the instruction alone. Noise
// and everything element-wise rounds as the kernels of the ops do.
#include "../persistent/sampler.h"

#include "../gpu.h"
#include "activation.cuh"
#include "reduce.cuh"

namespace langevin {
namespace cuda {
namespace persistent {
namespace {

// What the threads of a block know of their image and step.
struct Place {
  unsigned char* shared;
  unsigned char* own;     // the image's part of it
  const double* numbers;  // of the step's slots
  const float* packed;    // weights, in device memory
  float* partials;
  int image;
  bool idle;   // there is no such image: the threads only meet the others
  int thread;  // counted from the warp where the instruction begins; none of these where they are idle

  __device__ int lane() const { return thread % 32; }
  __device__ int warp() const { return thread / 32; }

  __device__ double real(const StepNumber& n) const { return n.slot < 0 ? n.value : numbers[n.slot]; }
  __device__ int64_t integer(const StepNumber& n) const { return static_cast<int64_t>(real(n)); }

  template <class T>
  __device__ T* data(const View& view) const {
    if (view.shared >= 0) return reinterpret_cast<T*>(own + view.shared);
    return static_cast<T*>(view.device) + static_cast<int64_t>(image) * view.image;
  }
};

struct Element {
  int row, column, channel;
};

__device__ __forceinline__ Element elementAt(const Instruction& in, int i) {
  Element e;
  e.row = in.perRow.divide(in.perPixel.divide(i, e.channel), e.column);
  return e;
}

__device__ __forceinline__ int offsetOf(const View& view, const Element& e) {
  return e.row * view.stride[0] + e.column * view.stride[1] + e.channel * view.stride[2];
}

__device__ __forceinline__ int sizeOf(const Instruction& in) { return in.size[0] * in.size[1] * in.size[2]; }

// Calls f(element) for all elements of the result; each is one thread's.
template <class F>
__device__ __forceinline__ void forEachElement(const Instruction& in, const Place& place, const F& f) {
  GPU_NO_UNROLL
  for (int i = place.thread; i < sizeOf(in); i += kThreads) f(elementAt(in, i));
}

// Four elements at a time, so that one need not wait for the other.
struct Four {
  float v[4];
};

// a = operation(a, b).
__device__ __forceinline__ void apply(Operation operation, Four& a, const Four& b) {
  const auto toEach = [&](const auto& f) {
    GPU_UNROLL
    for (int i = 0; i < 4; i++) a.v[i] = f(a.v[i], b.v[i]);
  };
  switch (operation) {
    case Operation::relu: return toEach([](float x, float) { return Relu{}(x); });
    case Operation::silu: return toEach([](float x, float) { return Silu{}(x); });
    case Operation::sigmoid: return toEach([](float x, float) { return sigmoidOf(x); });
    case Operation::tanh: return toEach([](float x, float) { return hyperbolicTangent(x); });
    case Operation::gelu: return toEach([](float x, float) { return geluOf(x); });
    case Operation::add: return toEach([](float x, float y) { return x + y; });
    case Operation::sub: return toEach([](float x, float y) { return x - y; });
    case Operation::mul: return toEach([](float x, float y) { return x * y; });
    case Operation::div: return toEach([](float x, float y) { return gpu::divide(x, y); });
    default: return;
  }
}

// The elements that a thread takes at a time.
struct Elements {
  Element at[4];
  bool inside[4];

  __device__ __forceinline__ Four load(const View& view, const float* from) const {
    Four x;
    GPU_UNROLL
    for (int i = 0; i < 4; i++) x.v[i] = inside[i] ? from[offsetOf(view, at[i])] : 0.0f;
    return x;
  }
  __device__ __forceinline__ void store(const View& view, float* to, const Four& x) const {
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
      if (inside[i]) to[offsetOf(view, at[i])] = x.v[i];
  }
};

__device__ void mapElements(const Instruction& in, const Place& place) {
  const bool two = in.inputCount > 1;
  GPU_NO_UNROLL
  for (int first = place.thread; first < sizeOf(in); first += 4 * kThreads) {
    Elements elements;
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
      elements.at[i] = elementAt(in, first + i * kThreads);
      elements.inside[i] = first + i * kThreads < sizeOf(in);
    }
    Four a = elements.load(in.inputs[0], place.data<const float>(in.inputs[0]));
    const Four b = two ? elements.load(in.inputs[1], place.data<const float>(in.inputs[1])) : a;
    apply(in.operation, a, b);
    elements.store(in.result, place.data<float>(in.result), a);
  }
}

// Words of any dtype.
__device__ void copyElements(const Instruction& in, const Place& place) {
  uint32_t* const y = place.data<uint32_t>(in.result);
  const uint32_t* const x = place.data<const uint32_t>(in.inputs[0]);
  forEachElement(in, place, [&](const Element& e) { y[offsetOf(in.result, e)] = x[offsetOf(in.inputs[0], e)]; });
}

__device__ void castElements(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const int32_t* const x = place.data<const int32_t>(in.inputs[0]);
  forEachElement(in, place, [&](const Element& e) { y[offsetOf(in.result, e)] = noise::fromInt(x[offsetOf(in.inputs[0], e)]); });
}

template <class T>
__device__ void fillElements(const Instruction& in, const Place& place) {
  T* const y = place.data<T>(in.result);
  const T value = static_cast<T>(place.real(in.number));
  forEachElement(in, place, [&](const Element& e) { y[offsetOf(in.result, e)] = value; });
}

// A row of a table, whose number was checked.
__device__ void pickRow(const Instruction& in, const Place& place) {
  uint32_t* const y = place.data<uint32_t>(in.result);
  const uint32_t* const row = place.data<const uint32_t>(in.inputs[0]) + place.integer(in.number) * in.rowStride;
  forEachElement(in, place, [&](const Element& e) { y[offsetOf(in.result, e)] = row[offsetOf(in.inputs[0], e)]; });
}

// Rows of a table by index, one for each column of the result; NaN for those from outside.
__device__ void pickRows(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const float* const table = place.data<const float>(in.inputs[0]);
  const int32_t* const index = place.data<const int32_t>(in.inputs[1]);
  forEachElement(in, place, [&](const Element& e) {
    const int32_t at = index[e.row * in.inputs[1].stride[0] + e.column * in.inputs[1].stride[1]];
    const bool inside = at >= 0 && at < in.rows;
    y[offsetOf(in.result, e)] = inside ? table[at * in.rowStride + e.channel] : fromBits(0x7FC00000u);
  });
}

// The first of a window's largest values; NaN beats numbers.
__device__ void poolMaximum(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const View& from = in.inputs[0];
  const float* const x = place.data<const float>(from);
  const Window& w = in.window;
  forEachElement(in, place, [&](const Element& e) {
    float most = fromBits(0xFF800000u);
    for (int ky = 0; ky < w.kernel[0]; ky++)
      for (int kx = 0; kx < w.kernel[1]; kx++) {
        const int row = e.row * w.stride[0] - w.padding[0] + ky, column = e.column * w.stride[1] - w.padding[1] + kx;
        if (row < 0 || row >= w.source[0] || column < 0 || column >= w.source[1]) continue;
        const float value = x[row * from.stride[0] + column * from.stride[1] + e.channel];
        if (value > most || value != value) most = value;
      }
    y[offsetOf(in.result, e)] = most;
  });
}

// The four pixels of a tile.
struct Tile {
  int row[kTile], column[kTile];

  __device__ __forceinline__ Tile(const Instruction& in, int number) {
    GPU_UNROLL
    for (int p = 0; p < kTile; p++) {
      const int pixel = number * kTile + p;
      row[p] = pixel < in.size[0] * in.size[1] ? pixel / in.size[1] : -1;
      column[p] = pixel % in.size[1];
    }
  }

  // Source pixels that meet a tap; null for none.
  __device__ __forceinline__ void meet(const Instruction& in, const float* x, int ky, int kx, const float* (&met)[kTile]) const {
    GPU_UNROLL
    for (int p = 0; p < kTile; p++) {
      const int y = sourceOf(in.window, 0, row[p], ky), column_ = sourceOf(in.window, 1, column[p], kx);
      const bool inside = row[p] >= 0 && y >= 0 && column_ >= 0;
      met[p] = inside ? x + y * in.inputs[0].stride[0] + column_ * in.inputs[0].stride[1] : nullptr;
    }
  }
};

using Sums = float[kTile][kTile];  // by pixel and channel

// Adds one tap's products of a part of the source channels.
__device__ __forceinline__ void addChannels(const Weights& w, const float* const (&x)[kTile], const float* weight,
                                            int outputs, int part, Sums& sums) {
  GPU_NO_UNROLL
  for (int first = part * w.adjacent; first < w.channels; first += w.parts * w.adjacent) {
    GPU_NO_UNROLL
    for (int c = first; c < first + w.adjacent; c++) {
      GPU_UNROLL
      for (int j = 0; j < kTile; j++) {
        const float factor = j < outputs ? weight[c * w.perSource + j * w.perOutput] : 0.0f;
        GPU_UNROLL
        for (int p = 0; p < kTile; p++) sums[p][j] = gpu::fma(x[p] == nullptr ? 0.0f : x[p][c], factor, sums[p][j]);
      }
    }
  }
}

__device__ __forceinline__ float4 loadVector(const float* p) {
  return p == nullptr ? float4{0, 0, 0, 0} : *reinterpret_cast<const float4*>(p);
}

// Adds x times the four weights to a pixel's sums.
__device__ __forceinline__ void addRow(float x, const float4& weight, float (&sums)[kTile]) {
  sums[0] = gpu::fma(x, weight.x, sums[0]);
  sums[1] = gpu::fma(x, weight.y, sums[1]);
  sums[2] = gpu::fma(x, weight.z, sums[2]);
  sums[3] = gpu::fma(x, weight.w, sums[3]);
}

// The same in the same order, where four channels are adjacent and all four outputs are there.
__device__ __forceinline__ void addVectors(const Weights& w, const float* const (&x)[kTile], const float* weight, int part,
                                           Sums& sums) {
  GPU_NO_UNROLL
  for (int c = kTile * part; c < w.channels; c += kTile * w.parts) {
    const float* const rows = weight + c * w.perSource;
    const float4 w0 = loadVector(rows), w1 = loadVector(rows + w.perSource), w2 = loadVector(rows + 2 * w.perSource),
                 w3 = loadVector(rows + 3 * w.perSource);
    GPU_UNROLL
    for (int p = 0; p < kTile; p++) {
      const float4 source = loadVector(x[p] == nullptr ? nullptr : x[p] + c);
      addRow(source.x, w0, sums[p]);
      addRow(source.y, w1, sums[p]);
      addRow(source.z, w2, sums[p]);
      addRow(source.w, w3, sums[p]);
    }
  }
}

// Sums of all parts, [part, pixel, channel], where the channels fill up whole tiles.
template <bool vectors>
__device__ void addParts(const Instruction& in, const Place& place) {
  const Weights& w = in.weights;
  const float* const x = place.data<const float>(in.inputs[0]);
  const float* const weights = place.data<const float>(in.inputs[1]);
  const int pixels = in.size[0] * in.size[1], groups = (in.size[2] + kTile - 1) / kTile;
  const int units = groups * w.parts * ((pixels + kTile - 1) / kTile);
  for (int unit = place.thread; unit < units; unit += kThreads) {
    // Neighbouring threads read neighbouring channels of the same weights.
    const int group = unit % groups, part = unit / groups % w.parts, number = unit / (groups * w.parts);
    const int outputs = in.size[2] - group * kTile;
    const Tile tile(in, number);
    Sums sums = {};
    const float* weight = weights + group * kTile * w.perOutput;
    GPU_NO_UNROLL
    for (int ky = 0; ky < in.window.kernel[0]; ky++)
      GPU_NO_UNROLL
      for (int kx = 0; kx < in.window.kernel[1]; kx++) {
        const float* met[kTile];
        tile.meet(in, x, ky, kx, met);
        if (vectors) addVectors(w, met, weight, part, sums);
        else addChannels(w, met, weight, outputs, part, sums);
        weight += w.perTap;
      }
    float* const to = place.partials + (part * pixels + number * kTile) * groups * kTile + group * kTile;
    GPU_UNROLL
    for (int p = 0; p < kTile; p++)
      if (number * kTile + p < pixels)
        *reinterpret_cast<float4*>(to + p * groups * kTile) = float4{sums[p][0], sums[p][1], sums[p][2], sums[p][3]};
  }
}

// What becomes of a product's sums, or of what else has tails. All of it is loaded before it is needed: latencies are most of
// what an instruction takes.
class Finishing {
 public:
  __device__ __forceinline__ Finishing(const Instruction& in, const Place& place) : place_(place), result_(in.result) {
    if (in.operation == Operation::product && in.inputCount > 2) bias_ = place.data<const float>(in.inputs[2]);
    GPU_UNROLL
    for (int i = 0; i < kMostTails; i++)
      if (i < in.tailCount) tails_[i] = in.tails[i];
  }

  // Loads what is added to these elements; `sums` are then asked for.
  template <class Sums>
  __device__ __forceinline__ void store(const Elements& elements, const Sums& sums) const {
    Four bias = {}, others[kMostTails] = {};
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
      if (bias_ != nullptr && elements.inside[i]) bias.v[i] = bias_[elements.at[i].channel];
    GPU_UNROLL
    for (int i = 0; i < kMostTails; i++)
      if (tails_[i].operation >= Operation::add)
        others[i] = elements.load(tails_[i].other, place_.data<const float>(tails_[i].other));
    Four x = sums();
    if (bias_ != nullptr) apply(Operation::add, x, bias);
    GPU_UNROLL
    for (int i = 0; i < kMostTails; i++) applyTail(tails_[i], x, others[i]);
    elements.store(result_, place_.data<float>(result_), x);
  }

 private:
  __device__ static __forceinline__ void applyTail(const Tail& tail, Four& x, const Four& other) {
    Four left = x, right = other;
    if (tail.reversed) left = other, right = x;
    apply(tail.operation, left, right);
    x = left;
  }

  const Place& place_;
  const View result_;
  const float* bias_ = nullptr;
  Tail tails_[kMostTails];
};

__device__ __forceinline__ void addTo(Four& sums, const float4& x) {
  sums.v[0] = sums.v[0] + x.x;
  sums.v[1] = sums.v[1] + x.y;
  sums.v[2] = sums.v[2] + x.z;
  sums.v[3] = sums.v[3] + x.w;
}

__device__ void multiplyByFma(const Instruction& in, const Place& place) {
  if (in.weights.vectors) addParts<true>(in, place);
  else addParts<false>(in, place);
  __syncthreads();
  // Four channels of a pixel are a thread's.
  const int pixels = in.size[0] * in.size[1], groups = (in.size[2] + kTile - 1) / kTile;
  const Finishing finishing(in, place);
  GPU_NO_UNROLL
  for (int number = place.thread; number < pixels * groups; number += kThreads) {
    const int pixel = number / groups, channel = (number - pixel * groups) * kTile, row = pixel / in.size[1];
    Elements elements;
    GPU_UNROLL
    for (int i = 0; i < kTile; i++) {
      elements.at[i] = {row, pixel - row * in.size[1], channel + i};
      elements.inside[i] = channel + i < in.size[2];
    }
    finishing.store(elements, [&] {
      Four sums = {};
      GPU_NO_UNROLL
      for (int part = 0; part < in.weights.parts; part++)
        addTo(sums, reinterpret_cast<const float4*>(place.partials)[part * pixels * groups + number]);
      return sums;
    });
  }
}

// --- Products on tensor cores ---

// What a lane brings to a step, four k of each: weights of the channels lane / 4 and lane / 4 + 8 of the block, and the source
// at pixel lane / 4 of each tile. A lane's k are neighbours, whatever k tensor cores take them for.
template <Products products>
using WeightVectors = float4[vectorsOf(products)];  // by channel; for bf16 pairs of k of both: the first pair of each, the second

template <Products products, int tiles>
struct Operands {
  WeightVectors<products> weights;
  float4 source[tiles];
};

template <int tiles>
using TileSums = float[tiles][4];  // channels lane / 4 (+ 8) of pixels lane % 4 * 2 (+ 1)

__device__ __forceinline__ float4 loadFour(const float* p, bool vectors) {
  return vectors ? *reinterpret_cast<const float4*>(p) : float4{p[0], p[1], p[2], p[3]};
}

// A lane's way through the steps of a unit. `narrow`: steps go on from tap to tap, an element at a time.
template <Products products, int tiles, bool narrow>
class Walk {
 public:
  __device__ __forceinline__ Walk(const Instruction& in, const Place& place, const Unit& unit)
      : in_(in), pitch_(in.inputs[0].stride[1]), count_(unit.count), at_(unit.at), resident_(unit.resident != 0) {
    meeting_ = reinterpret_cast<const int16_t*>(place.shared + in.pieces.positions) + unit.meeting;
    pixel_ = place.lane() / 4;
    element_ = place.lane() % 4 * 4;
    x_ = place.data<const float>(in.inputs[0]);
    weights_ = (resident_ ? reinterpret_cast<const float*>(place.shared + unit.weights) : place.packed + unit.weights) +
               place.lane() * 4;
  }

  __device__ __forceinline__ int count() const { return count_; }

  // The next step's operands.
  __device__ __forceinline__ void take(Operands<products, tiles>& to) {
    takeWeights(to.weights);
    takeSource(to.source);
  }

  __device__ __forceinline__ void takeWeights(WeightVectors<products>& to) const {
    const int step = narrow ? at_ : meeting_[0] * in_.pieces.chunks + at_;
    const float4* const from = reinterpret_cast<const float4*>(weights_ + step * wordsOf(products));
    GPU_UNROLL
    for (int i = 0; i < vectorsOf(products); i++) to[i] = resident_ ? from[i * 32] : gpu::loadStreamed(from + i * 32);
  }

  // ... and goes on.
  __device__ __forceinline__ void takeSource(float4 (&to)[tiles]) {
    GPU_UNROLL
    for (int tile = 0; tile < tiles; tile++) {
      const int column = 1 + tile * kColumns + pixel_;
      if (narrow) {
        const int k = at_ * kBlock + element_;
        to[tile] = {elementAtK(column, k), elementAtK(column, k + 1), elementAtK(column, k + 2), elementAtK(column, k + 3)};
      } else {
        const int pixel = meeting_[column];
        to[tile] = pixel < 0 ? float4{0, 0, 0, 0} : loadFour(x_ + pixel * pitch_ + at_ * kBlock + element_, in_.pieces.vectors);
      }
    }
    skip();
  }

  __device__ __forceinline__ void skip() {
    at_++;
    if (narrow || at_ < in_.pieces.chunks) return;
    at_ = 0;
    meeting_ += kEach;
  }

 private:
  static constexpr int kEach = 1 + kColumns * tiles;  // words of a meeting

  __device__ __forceinline__ float elementAtK(int column, int k) const {
    int channel;
    const int tap = in_.weights.perChannel.divide(k, channel);
    if (tap >= in_.pieces.taps) return 0.0f;
    const int pixel = meeting_[tap * kEach + column];
    return pixel < 0 ? 0.0f : x_[pixel * pitch_ + channel];
  }

  const Instruction& in_;
  const int pitch_, count_;
  int at_, pixel_, element_;
  const bool resident_;
  const int16_t* meeting_;
  const float *x_, *weights_;
};

// A float32 as big + small. Tensor cores do not read the last 13 bits of what they take for tf32. An infinite one gives NaN.
struct Split {
  uint32_t big, small;
};

__device__ __forceinline__ Split splitByIntegers(float x) {
  const uint32_t big = (gpu::bitsOfFloat(x) + 0x1000u) & 0xFFFFE000u;
  return {big, gpu::bitsOfFloat(x - gpu::floatFromBits(big))};
}

// The same for numbers below 2^114, by float32 cores (Veltkamp 1968): they and integer ones work at the same time.
__device__ __forceinline__ Split splitByFloats(float x) {
  const float scaled = 8193.0f * x, big = scaled - (scaled - x);
  return {gpu::bitsOfFloat(big), gpu::bitsOfFloat(x - big)};
}

// The halves of a step, of 8 k each, as tensor cores take them.
__device__ __forceinline__ void dealWeights(const float4 (&w)[2], float (&to)[2][4]) {
  to[0][0] = w[0].x, to[0][1] = w[1].x, to[0][2] = w[0].y, to[0][3] = w[1].y;
  to[1][0] = w[0].z, to[1][1] = w[1].z, to[1][2] = w[0].w, to[1][3] = w[1].w;
}

__device__ __forceinline__ void dealSource(const float4& x, float (&to)[2][2]) {
  to[0][0] = x.x, to[0][1] = x.y;
  to[1][0] = x.z, to[1][1] = x.w;
}

// sums += weights source, in bf16.
template <int tiles>
__device__ __forceinline__ void addBf16(const Operands<Products::bf16, tiles>& o, TileSums<tiles>& sums) {
  const float4& w = o.weights[0];
  const uint32_t a[4] = {gpu::bitsOfFloat(w.x), gpu::bitsOfFloat(w.y), gpu::bitsOfFloat(w.z), gpu::bitsOfFloat(w.w)};
  GPU_UNROLL
  for (int tile = 0; tile < tiles; tile++) {
    const float4& x = o.source[tile];
    const uint32_t b[2] = {gpu::packBf16(x.x, x.y), gpu::packBf16(x.z, x.w)};
    gpu::mmaBf16(sums[tile], a, b);
  }
}

// The same in tf32. Weights were rounded when they were packed.
template <int tiles>
__device__ __forceinline__ void addTf32(const Operands<Products::tf32, tiles>& o, TileSums<tiles>& sums) {
  float w[2][4];
  dealWeights(o.weights, w);
  GPU_UNROLL
  for (int half = 0; half < 2; half++) {
    uint32_t a[4];
    GPU_UNROLL
    for (int i = 0; i < 4; i++) a[i] = gpu::bitsOfFloat(w[half][i]);
    GPU_UNROLL
    for (int tile = 0; tile < tiles; tile++) {
      float x[2][2];
      dealSource(o.source[tile], x);
      const uint32_t b[2] = {gpu::toTf32(x[half][0]), gpu::toTf32(x[half][1])};
      gpu::mmaTf32(sums[tile], a, b);
    }
  }
}

// The same with operands as they are. Six products of a tile make three chains of two, so that they need not wait so long.
template <int tiles>
__device__ __forceinline__ void addSplit(const Operands<Products::tf32x3, tiles>& o, TileSums<tiles>& sums) {
  float w[2][4];
  dealWeights(o.weights, w);
  float chains[3][tiles][4] = {};
  GPU_UNROLL
  for (int half = 0; half < 2; half++) {
    uint32_t aBig[4], aSmall[4], bBig[tiles][2], bSmall[tiles][2];
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
      const Split a = splitByFloats(w[half][i]);
      aBig[i] = a.big;
      aSmall[i] = a.small;
    }
    GPU_UNROLL
    for (int tile = 0; tile < tiles; tile++) {
      float x[2][2];
      dealSource(o.source[tile], x);
      GPU_UNROLL
      for (int i = 0; i < 2; i++) {
        const Split b = splitByIntegers(x[half][i]);
        bBig[tile][i] = b.big;
        bSmall[tile][i] = b.small;
      }
    }
    GPU_UNROLL
    for (int tile = 0; tile < tiles; tile++) gpu::mmaTf32(chains[0][tile], aSmall, bBig[tile]);
    GPU_UNROLL
    for (int tile = 0; tile < tiles; tile++) gpu::mmaTf32(chains[1][tile], aBig, bSmall[tile]);
    GPU_UNROLL
    for (int tile = 0; tile < tiles; tile++) gpu::mmaTf32(chains[2][tile], aBig, bBig[tile]);
  }
  GPU_UNROLL
  for (int tile = 0; tile < tiles; tile++) {
    GPU_UNROLL
    for (int i = 0; i < 4; i++) sums[tile][i] += (chains[0][tile][i] + chains[1][tile][i]) + chains[2][tile][i];
  }
}

template <Products products, int tiles>
__device__ __forceinline__ void addStep(const Operands<products, tiles>& o, TileSums<tiles>& sums) {
  if constexpr (products == Products::bf16) addBf16<tiles>(o, sums);
  else if constexpr (products == Products::tf32) addTf32<tiles>(o, sums);
  else addSplit<tiles>(o, sums);
}

// The operands of a walk's first steps, which are under way while those before them are multiplied. Weights depend on no other
// instruction: they may be on their way before a barrier.
template <Products products, int tiles, bool narrow>
struct Ahead {
  static constexpr int steps = narrow ? 1 : tiles == 1 ? 3 : 2;
  Operands<products, tiles> operands[steps] = {};

  __device__ __forceinline__ void takeWeights(Walk<products, tiles, narrow> walk, int count) {
    GPU_UNROLL
    for (int i = 0; i < steps; i++) {
      if (i >= count) break;
      walk.takeWeights(operands[i].weights);
      walk.skip();
    }
  }
};

// Adds up so many steps of a walk, after `ahead` has its weights.
template <Products products, int tiles, bool narrow>
__device__ __forceinline__ void addSteps(Walk<products, tiles, narrow>& walk, int count,
                                         Ahead<products, tiles, narrow>& ahead, TileSums<tiles>& sums) {
  constexpr int steps = Ahead<products, tiles, narrow>::steps;
  GPU_UNROLL
  for (int i = 0; i < steps; i++)
    if (i < count) walk.takeSource(ahead.operands[i].source);
  GPU_NO_UNROLL
  for (int step = 0; step < count; step += steps) {
    GPU_UNROLL
    for (int i = 0; i < steps; i++) {
      if (step + i >= count) break;
      addStep<products, tiles>(ahead.operands[i], sums);
      if (step + i + steps < count) walk.take(ahead.operands[i]);
    }
  }
}

// Weights of the last steps of a warp's only unit.
template <Products products, int together>
struct Bank {
  static constexpr int steps = bankStepsOf(products, together);
  WeightVectors<products> weights[steps > 0 ? steps : 1];
};

__device__ __forceinline__ const Unit& unitAt(const Pieces& pieces, const Place& place, int number) {
  return reinterpret_cast<const Unit*>(place.shared + pieces.units)[number];
}

template <Products products, int together>
__device__ __forceinline__ void fillBank(const Instruction& in, const Place& place, Bank<products, together>& bank) {
  if (place.warp() >= in.pieces.unitCount()) return;
  Walk<products, 1, false> walk(in, place, unitAt(in.pieces, place, place.warp()));
  for (int step = bank.steps; step < walk.count(); step++) walk.skip();
  GPU_UNROLL
  for (int step = 0; step < bank.steps; step++) {
    if (step >= walk.count()) break;
    walk.takeWeights(bank.weights[step]);
    walk.skip();
  }
}

// Otherwise the compiler would split the bank's weights once and for all, and have no registers for that.
__device__ __forceinline__ float4 opaque(const float4& w) {
  return {gpu::opaque(w.x), gpu::opaque(w.y), gpu::opaque(w.z), gpu::opaque(w.w)};
}

template <Products products, int together>
__device__ __forceinline__ void addBanked(Walk<products, 1, false>& walk, const Bank<products, together>& bank,
                                          TileSums<1>& sums) {
  const int count = walk.count();
  GPU_UNROLL
  for (int step = 0; step < bank.steps; step++) {
    if (step >= count) break;
    Operands<products, 1> operands;
    GPU_UNROLL
    for (int i = 0; i < vectorsOf(products); i++) operands.weights[i] = opaque(bank.weights[step][i]);
    walk.takeSource(operands.source);
    addStep<products, 1>(operands, sums);
  }
}

// Where a warp keeps sums of a tile, in lanes' order.
__device__ __forceinline__ float4& sumsAt(const Place& place, int number) {
  return reinterpret_cast<float4*>(place.partials)[number * 32 + place.lane()];
}

template <int tiles, bool narrow, bool banked, Products products, int together>
__device__ __forceinline__ void addUnits(const Instruction& in, const Place& place, const Bank<products, together>& bank) {
  bool waits = in.waits;
  int number = place.warp();
  do {
    const bool any = number < in.pieces.unitCount();
    const Unit unit = any ? unitAt(in.pieces, place, number) : Unit{};
    Walk<products, tiles, narrow> walk(in, place, unit);
    const int before = !banked ? walk.count() : walk.count() > bank.steps ? walk.count() - bank.steps : 0;  // the bank's
    Ahead<products, tiles, narrow> ahead;
    ahead.takeWeights(walk, before);
    if (waits) __syncthreads();
    waits = false;
    TileSums<tiles> sums = {};
    addSteps<products, tiles, narrow>(walk, before, ahead, sums);
    if constexpr (banked) addBanked(walk, bank, sums);
    GPU_UNROLL
    for (int tile = 0; tile < tiles; tile++)
      if (any) sumsAt(place, unit.sums + tile) = float4{sums[tile][0], sums[tile][1], sums[tile][2], sums[tile][3]};
    number += kWarps;
  } while (number < in.pieces.unitCount());
}

// The sum of all parts of a tile, a few of which are on their way at a time.
__device__ __forceinline__ Four sumOfParts(const Pieces& pieces, const Place& place, int first) {
  constexpr int atATime = 4;
  Four sums = {};
  GPU_NO_UNROLL
  for (int part = 0; part < pieces.parts; part += atATime) {
    float4 x[atATime];
    GPU_UNROLL
    for (int i = 0; i < atATime; i++)
      x[i] = part + i < pieces.parts ? sumsAt(place, first + (part + i) * pieces.perPart) : float4{0, 0, 0, 0};
    GPU_UNROLL
    for (int i = 0; i < atATime; i++) addTo(sums, x[i]);
  }
  return sums;
}

// Where there is one part, each lane has what it stored itself.
__device__ __forceinline__ void finishTiles(const Instruction& in, const Place& place) {
  const Pieces& pieces = in.pieces;
  const int16_t* const positions = reinterpret_cast<const int16_t*>(place.shared + pieces.positions);
  const Finish* const finishes = reinterpret_cast<const Finish*>(place.shared + pieces.finishes);
  const Finishing finishing(in, place);
  if (place.idle) return;
  GPU_NO_UNROLL
  for (int turn = 0; turn < pieces.turns; turn++) {
    const Finish what = finishes[turn * kWarps + place.warp()];
    if (what.block < 0) continue;
    Elements elements;
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
      const int position = positions[what.tile * kColumns + place.lane() % 4 * 2 + i % 2];
      elements.at[i] = {position >> 8, position & 255, what.block * kBlock + place.lane() / 4 + i / 2 * 8};
      elements.inside[i] = position >= 0 && elements.at[i].channel < in.size[2];
    }
    finishing.store(elements, [&] { return sumOfParts(pieces, place, what.sums); });
  }
}

// Does not wait for the instructions before it until it must.
template <Products products, int together>
__device__ __forceinline__ void multiply(const Instruction& in, const Place& place, const Bank<products, together>& bank) {
  if constexpr (products == Products::fma) {
    if (in.waits) __syncthreads();
    multiplyByFma(in, place);
  } else {
    const bool narrow = in.pieces.chunks == 0, one = in.pieces.tiles == 1;
    constexpr bool hasBank = Bank<products, together>::steps > 0;
    if (hasBank && in.pieces.banked) addUnits<1, false, hasBank>(in, place, bank);
    else if (narrow && one) addUnits<1, true, false>(in, place, bank);
    else if (narrow) addUnits<2, true, false>(in, place, bank);
    else if (one) addUnits<1, false, false>(in, place, bank);
    else addUnits<2, false, false>(in, place, bank);
    if (in.pieces.parts > 1) __syncthreads();
    finishTiles(in, place);
  }
}

// (x - mean) / sqrt(variance + epsilon) weight + bias; inputs x, weight, bias. A group of channels is a warp's, which goes over
// it three times: for the mean, for the variance about it, and for what becomes of it.
__device__ __forceinline__ void normaliseGroups(const Instruction& in, const Place& place) {
  const View& from = in.inputs[0];
  const float* const x = place.data<const float>(from);
  const float* const weight = place.data<const float>(in.inputs[1]);
  const float* const bias = place.data<const float>(in.inputs[2]);
  const Finishing finishing(in, place);
  const int count = in.size[0] * in.size[1] * in.weights.channels;
  GPU_NO_UNROLL
  for (int group = place.warp(); group < in.groups; group += kWarps) {
    const auto at = [&](int i) {
      Element e;
      e.row = in.perRow.divide(in.weights.perChannel.divide(i, e.channel), e.column);
      e.channel += group * in.weights.channels;
      return e;
    };
    double sum = 0;
    GPU_NO_UNROLL
    for (int i = place.lane(); i < count; i += 32) sum += static_cast<double>(x[offsetOf(from, at(i))]);
    const double mean = warpSum(sum) / count;
    double squares = 0;
    GPU_NO_UNROLL
    for (int i = place.lane(); i < count; i += 32) {
      const double distance = static_cast<double>(x[offsetOf(from, at(i))]) - mean;
      squares += distance * distance;
    }
    const double scale = 1 / sqrt(warpSum(squares) / count + place.real(in.number));
    GPU_NO_UNROLL
    for (int i = place.lane(); i < count; i += 4 * 32) {
      Elements elements;
      Four normal = {};
      GPU_UNROLL
      for (int k = 0; k < 4; k++) {
        elements.inside[k] = i + k * 32 < count;
        elements.at[k] = at(i + k * 32);
        if (!elements.inside[k]) continue;
        const int channel = elements.at[k].channel;
        const float z = static_cast<float>((static_cast<double>(x[offsetOf(from, elements.at[k])]) - mean) * scale);
        normal.v[k] = gpu::fma(z, weight[channel], bias[channel]);
      }
      finishing.store(elements, [&] { return normal; });
    }
  }
}

__device__ noise::Floats4 normalsOf(const Instruction& in, const Place& place, int quad) {
  const noise::Counter counter = {static_cast<uint32_t>(quad), in.draw,
                                  static_cast<uint32_t>(place.integer(in.image)) + static_cast<uint32_t>(place.image),
                                  static_cast<uint32_t>(place.integer(in.step))};
  return noise::normal4(counter, in.seed);
}

__device__ void drawNormal(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  for (int quad = place.thread; 4 * quad < sizeOf(in); quad += kThreads) {
    const noise::Floats4 z = normalsOf(in, place, quad);
    GPU_UNROLL
    for (int j = 0; j < 4; j++)
      if (4 * quad + j < sizeOf(in)) y[offsetOf(in.result, elementAt(in, 4 * quad + j))] = z.v[j];
  }
}

// x[t-1] = meanScale (x[t] - epsilonScale epsilon) + sigma z, as diffusion.cu has it; inputs x, epsilon, t, scales, z.
__device__ void reverseStep(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const float* const x = place.data<const float>(in.inputs[0]);
  const float* const epsilon = place.data<const float>(in.inputs[1]);
  const int32_t t = *place.data<const int32_t>(in.inputs[2]);
  const float* const scales = place.data<const float>(in.inputs[3]);
  const float* const z = place.data<const float>(in.inputs[4]);
  const float meanScale = scales[0], epsilonScale = scales[1], sigma = scales[2];
  forEachElement(in, place, [&](const Element& e) {
    const float predicted = noise::mul(epsilonScale, epsilon[offsetOf(in.inputs[1], e)]);
    const float mean = noise::mul(meanScale, noise::sub(x[offsetOf(in.inputs[0], e)], predicted));
    const float fresh = z[offsetOf(in.inputs[4], e)];
    y[offsetOf(in.result, e)] = t != 0 ? noise::add(mean, noise::mul(sigma, fresh)) : mean;
  });
}

__device__ void combine(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const float* const coefficients = place.data<const float>(in.inputs[0]);
  forEachElement(in, place, [&](const Element& e) {
    float sum = coefficients[0] * place.data<const float>(in.inputs[1])[offsetOf(in.inputs[1], e)];
    for (int k = 2; k < in.inputCount; k++)
      sum = sum + coefficients[k - 1] * place.data<const float>(in.inputs[k])[offsetOf(in.inputs[k], e)];
    y[offsetOf(in.result, e)] = sum;
  });
}

template <Products products, int together>
__device__ __forceinline__ void execute(const Instruction& in, const Place& place, const Bank<products, together>& bank) {
  if (in.operation == Operation::product) return multiply(in, place, bank);
  if (in.waits) __syncthreads();
  switch (in.operation) {
    case Operation::copy: return copyElements(in, place);
    case Operation::toFloat: return castElements(in, place);
    case Operation::fill: return fillElements<float>(in, place);
    case Operation::fillIntegers: return fillElements<int32_t>(in, place);
    case Operation::randn: return drawNormal(in, place);
    case Operation::row: return pickRow(in, place);
    case Operation::embedding: return pickRows(in, place);
    case Operation::maxPool: return poolMaximum(in, place);
    case Operation::groupNorm: return normaliseGroups(in, place);
    case Operation::ddpmStep: return reverseStep(in, place);
    case Operation::linearCombination: return combine(in, place);
    default: return mapElements(in, place);
  }
}

// Copies what stays in shared memory: tables, and weights.
__device__ void fetchResidents(const Run& run, unsigned char* shared) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const auto fetch = [&](int to, const void* from, int bytes) {
    for (int at = 16 * thread; at < bytes; at += 16 * threads)
      gpu::copyAsync<16>(shared + to + at, static_cast<const unsigned char*>(from) + at, true);
  };
  fetch(run.tablesShared, run.tables, run.tableCount * static_cast<int>(sizeof(int16_t)));
  for (int i = 0; i < run.residentCount; i++) {
    const Resident& resident = run.residents[i];
    if (resident.from == nullptr) {
      fetch(resident.shared, run.packed + resident.packed, resident.words * static_cast<int>(sizeof(float)));
      continue;
    }
    float* const to = reinterpret_cast<float*>(shared + resident.shared);
    for (int k = thread; k < resident.words; k += threads) to[k] = resident.from[k];
  }
  gpu::commitCopies();
  gpu::waitCopies<0>();
  __syncthreads();
}

__device__ __forceinline__ void enter(const Instruction& in, const Run& run, Place& place) {
  constexpr int beyond = 1 << 30;
  const int thread = static_cast<int>(threadIdx.x);
  place.thread = (thread + kThreads - 32 * in.firstWarp) % kThreads + (place.idle ? beyond : 0);
  place.partials = reinterpret_cast<float*>(place.own + run.partials + in.partials);
}

template <Products products, int together>
__global__ void __launch_bounds__(kThreads * together, 1) runSteps(const Run run, const int steps) {
  GPU_DYNAMIC_SHARED(shared);
  if (run.progress->fault != 0) return;
  fetchResidents(run, shared);
  const double* numbers = run.slots > 0 ? run.progress->values + run.progress->cursor : nullptr;
  const int which = together == 1 ? 0 : static_cast<int>(threadIdx.x) / kThreads;
  const int image = static_cast<int>(blockIdx.x) * together + which;
  Place place = {shared, shared + which * run.perImage, numbers, run.packed, nullptr, image, image >= run.images, 0};
  Bank<products, together> bank = {};
  if (bank.steps > 0 && run.banked >= 0) {
    enter(run.instructions[run.banked], run, place);
    fillBank(run.instructions[run.banked], place, bank);
  }
  for (int step = 0; step < steps; step++) {
    for (int i = 0; i < run.instructionCount; i++) {
      const Instruction& in = run.instructions[i];
      enter(in, run, place);
      execute(in, place, bank);
    }
    place.numbers += run.slots;
  }
}

__device__ __forceinline__ float weightAt(const Packing& p, int output, int k) {
  const int tap = k / p.channels, source = k - tap * p.channels;
  const bool inside = output < p.outputs && tap < p.taps;
  return inside ? p.from[tap * p.perTap + source * p.perSource + output * p.perOutput] : 0.0f;
}

// A row of blocks for each product: weights in the order in which warps take them, zeros beyond the last channel and k.
__global__ void __launch_bounds__(kThreads) packWeights(const Run run) {
  const Packing& p = run.packings[blockIdx.y];
  const bool bf16 = run.products == Products::bf16;
  const int perStep = wordsOf(run.products), words = p.blocks * p.steps * perStep;
  for (int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x); i < words; i += static_cast<int>(gridDim.x) * kThreads) {
    const int within = i % perStep, step = i / perStep % p.steps, block = i / (perStep * p.steps);
    const int lane = within / 4 % 32, at = within % 4;
    // Which of the lane's two channels, and of its four k the first one.
    const int second = bf16 ? at % 2 : within / 128, first = bf16 ? at / 2 * 2 : at;
    const int output = block * kBlock + second * 8 + lane / 4, k = step * kBlock + lane % 4 * 4 + first;
    const float weight = weightAt(p, output, k);
    uint32_t word = gpu::bitsOfFloat(weight);
    if (run.products == Products::tf32) word = gpu::toTf32(weight);
    if (bf16) word = gpu::packBf16(weight, weightAt(p, output, k + 1));
    run.packed[p.packed + i] = gpu::floatFromBits(word);
  }
}

__global__ void countSteps(Progress* progress, int steps, int slots, const SlotPlace* pairs, int pairCount, double* places) {
  if (threadIdx.x != 0) return;
  progress->cursor += static_cast<long long>(steps) * slots;
  const double* const last = progress->values + progress->cursor - slots;
  for (int i = 0; i < pairCount; i++) places[pairs[i].place] = last[pairs[i].slot];
  if (progress->fault != 0) return;
  progress->lists += steps;
  progress->steps += steps;
}

}  // namespace

void enqueuePacking(cudaStream_t stream, const Run& run) {
  if (run.packingCount == 0) return;
  constexpr unsigned blocks = 16;  // of a product
  GPU_LAUNCH(packWeights, dim3(blocks, static_cast<unsigned>(run.packingCount)), dim3(kThreads), stream, run);
}

template <Products products, int together>
void enqueueSteps(cudaStream_t stream, const Run& run, const Sampler& sampler, int steps) {
  const unsigned blocks = static_cast<unsigned>((sampler.images + together - 1) / together);
  GPU_LAUNCH_SHARED((runSteps<products, together>), dim3(blocks), dim3(kThreads * together), sampler.sharedBytes, stream, run,
                    steps);
}

template <Products products>
void enqueueSteps(cudaStream_t stream, const Run& run, const Sampler& sampler, int steps) {
  if (sampler.together == 1) enqueueSteps<products, 1>(stream, run, sampler, steps);
  else enqueueSteps<products, 2>(stream, run, sampler, steps);
}

void enqueueSteps(cudaStream_t stream, const Run& run, const Sampler& sampler, int steps) {
  switch (sampler.products) {
    case Products::fma: return enqueueSteps<Products::fma, 1>(stream, run, sampler, steps);
    case Products::tf32x3: return enqueueSteps<Products::tf32x3>(stream, run, sampler, steps);
    case Products::tf32: return enqueueSteps<Products::tf32>(stream, run, sampler, steps);
    case Products::bf16: return enqueueSteps<Products::bf16>(stream, run, sampler, steps);
  }
}

void enqueueCountSteps(cudaStream_t stream, Progress* progress, int steps, int slots, const SlotPlace* pairs, int pairCount,
                       double* places) {
  GPU_LAUNCH(countSteps, dim3(1), dim3(gpu::kWarp), stream, progress, steps, slots, pairs, pairCount, places);
}

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
