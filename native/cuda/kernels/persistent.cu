// The interpreter of the persistent sampler (persistent.h): a block runs the instructions of one image, step after step.
//
// Products are added up by explicit fma, a tile of four pixels and four channels a thread. Where an output has too few tiles
// to keep the threads busy, the source's channels are shared out among several threads, whose sums are then added in order:
// all of that follows from the instruction alone. Noise and everything element-wise rounds as the kernels of the ops do.
#include "../persistent.h"

#include "../gpu.h"
#include "functions.cuh"

namespace langevin {
namespace cuda {
namespace persistent {
namespace {

// What the threads of a block know of their image and step.
struct Place {
  unsigned char* shared;
  const double* numbers;  // of the step's slots
  int image;

  __device__ double real(const StepNumber& n) const { return n.slot < 0 ? n.value : numbers[n.slot]; }
  __device__ int64_t integer(const StepNumber& n) const { return static_cast<int64_t>(real(n)); }

  template <class T>
  __device__ T* data(const View& view) const {
    if (view.shared >= 0) return reinterpret_cast<T*>(shared + view.shared);
    return static_cast<T*>(view.device) + static_cast<int64_t>(image) * view.image;
  }
};

struct Element {
  int row, column, channel;
};

__device__ __forceinline__ Element elementAt(const Instruction& in, int i) {
  const int pixel = i / in.size[2], row = pixel / in.size[1];
  return {row, pixel - row * in.size[1], i - pixel * in.size[2]};
}

__device__ __forceinline__ int offsetOf(const View& view, const Element& e) {
  return e.row * view.stride[0] + e.column * view.stride[1] + e.channel * view.stride[2];
}

__device__ __forceinline__ int sizeOf(const Instruction& in) { return in.size[0] * in.size[1] * in.size[2]; }

// Calls f(element) for all elements of the result; each is one thread's.
template <class F>
__device__ __forceinline__ void forEachElement(const Instruction& in, const F& f) {
  for (int i = static_cast<int>(threadIdx.x); i < sizeOf(in); i += kThreads) f(elementAt(in, i));
}

// For NaN the comparison is false, so that it passes relu.
__device__ float applied(Operation operation, float a, float b) {
  switch (operation) {
    case Operation::relu: return a <= 0.0f ? 0.0f : a;
    case Operation::silu: return atLeast(-128.0f, a) * sigmoidOf(a);
    case Operation::sigmoid: return sigmoidOf(a);
    case Operation::tanh: return hyperbolicTangent(a);
    case Operation::add: return a + b;
    case Operation::sub: return a - b;
    case Operation::mul: return a * b;
    case Operation::div: return gpu::divide(a, b);
    default: return a;
  }
}

__device__ void mapElements(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const float* const a = place.data<const float>(in.inputs[0]);
  const bool two = in.inputCount > 1;
  const float* const b = two ? place.data<const float>(in.inputs[1]) : a;
  forEachElement(in, [&](const Element& e) {
    const float left = a[offsetOf(in.inputs[0], e)], right = two ? b[offsetOf(in.inputs[1], e)] : 0.0f;
    y[offsetOf(in.result, e)] = applied(in.operation, left, right);
  });
}

// Words of any dtype.
__device__ void copyElements(const Instruction& in, const Place& place) {
  uint32_t* const y = place.data<uint32_t>(in.result);
  const uint32_t* const x = place.data<const uint32_t>(in.inputs[0]);
  forEachElement(in, [&](const Element& e) { y[offsetOf(in.result, e)] = x[offsetOf(in.inputs[0], e)]; });
}

__device__ void castElements(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const int32_t* const x = place.data<const int32_t>(in.inputs[0]);
  forEachElement(in, [&](const Element& e) { y[offsetOf(in.result, e)] = noise::fromInt(x[offsetOf(in.inputs[0], e)]); });
}

template <class T>
__device__ void fillElements(const Instruction& in, const Place& place) {
  T* const y = place.data<T>(in.result);
  const T value = static_cast<T>(place.real(in.number));
  forEachElement(in, [&](const Element& e) { y[offsetOf(in.result, e)] = value; });
}

// A row of a table, whose number was checked.
__device__ void pickRow(const Instruction& in, const Place& place) {
  uint32_t* const y = place.data<uint32_t>(in.result);
  const uint32_t* const row = place.data<const uint32_t>(in.inputs[0]) + place.integer(in.number) * in.perRow;
  forEachElement(in, [&](const Element& e) { y[offsetOf(in.result, e)] = row[offsetOf(in.inputs[0], e)]; });
}

// Rows of a table by index, one for each column of the result; NaN for those from outside.
__device__ void pickRows(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const float* const table = place.data<const float>(in.inputs[0]);
  const int32_t* const index = place.data<const int32_t>(in.inputs[1]);
  forEachElement(in, [&](const Element& e) {
    const int32_t at = index[e.row * in.inputs[1].stride[0] + e.column * in.inputs[1].stride[1]];
    const bool inside = at >= 0 && at < in.rows;
    y[offsetOf(in.result, e)] = inside ? table[at * in.perRow + e.channel] : fromBits(0x7FC00000u);
  });
}

// The first of a window's largest values; NaN beats numbers.
__device__ void poolMaximum(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const View& from = in.inputs[0];
  const float* const x = place.data<const float>(from);
  const Window& w = in.window;
  forEachElement(in, [&](const Element& e) {
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

// Where output position o and tap k meet the source; negative where they do not.
__device__ __forceinline__ int sourceOf(const Window& w, int axis, int o, int k) {
  int at = o * w.stride[axis] - w.padding[axis] + k * w.dilation[axis];
  if (w.transposed) {
    const int distance = o + w.padding[axis] - k * w.dilation[axis];
    at = distance / w.stride[axis];
    if (distance < 0 || at * w.stride[axis] != distance) return -1;
  }
  return at < w.source[axis] ? at : -1;
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
__device__ void addParts(const Instruction& in, const Place& place, float* partials) {
  const Weights& w = in.weights;
  const float* const x = place.data<const float>(in.inputs[0]);
  const float* const weights = place.data<const float>(in.inputs[1]);
  const int pixels = in.size[0] * in.size[1], groups = (in.size[2] + kTile - 1) / kTile;
  const int units = groups * w.parts * ((pixels + kTile - 1) / kTile);
  for (int unit = static_cast<int>(threadIdx.x); unit < units; unit += kThreads) {
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
    float* const to = partials + (part * pixels + number * kTile) * groups * kTile + group * kTile;
    GPU_UNROLL
    for (int p = 0; p < kTile; p++)
      if (number * kTile + p < pixels)
        *reinterpret_cast<float4*>(to + p * groups * kTile) = float4{sums[p][0], sums[p][1], sums[p][2], sums[p][3]};
  }
}

__device__ float afterTails(const Instruction& in, const Place& place, const Element& e, float value) {
  for (int i = 0; i < in.tailCount; i++) {
    const Tail& tail = in.tails[i];
    const bool two = tail.operation >= Operation::add;
    const float other = two ? place.data<const float>(tail.other)[offsetOf(tail.other, e)] : 0.0f;
    value = tail.reversed ? applied(tail.operation, other, value) : applied(tail.operation, value, other);
  }
  return value;
}

__device__ void multiply(const Instruction& in, const Place& place, float* partials) {
  if (in.weights.vectors) addParts<true>(in, place, partials);
  else addParts<false>(in, place, partials);
  __syncthreads();
  float* const y = place.data<float>(in.result);
  const bool biased = in.inputCount > 2;
  const float* const bias = biased ? place.data<const float>(in.inputs[2]) : nullptr;
  const int width = (in.size[2] + kTile - 1) / kTile * kTile, part = in.size[0] * in.size[1] * width;
  forEachElement(in, [&](const Element& e) {
    const float* const from = partials + (e.row * in.size[1] + e.column) * width + e.channel;
    float sum = 0;
    for (int i = 0; i < in.weights.parts; i++) sum = sum + from[i * part];
    if (biased) sum = sum + bias[e.channel];
    y[offsetOf(in.result, e)] = afterTails(in, place, e, sum);
  });
}

__device__ noise::Floats4 normalsOf(const Instruction& in, const Place& place, int quad) {
  const noise::Counter counter = {static_cast<uint32_t>(quad), in.draw,
                                  static_cast<uint32_t>(place.integer(in.image)) + static_cast<uint32_t>(place.image),
                                  static_cast<uint32_t>(place.integer(in.step))};
  return noise::normal4(counter, in.seed);
}

__device__ void drawNormal(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  for (int quad = static_cast<int>(threadIdx.x); 4 * quad < sizeOf(in); quad += kThreads) {
    const noise::Floats4 z = normalsOf(in, place, quad);
    GPU_UNROLL
    for (int j = 0; j < 4; j++)
      if (4 * quad + j < sizeOf(in)) y[offsetOf(in.result, elementAt(in, 4 * quad + j))] = z.v[j];
  }
}

// x[t-1] = meanScale (x[t] - epsilonScale epsilon) + sigma z, as diffusion.cu has it; inputs x, epsilon, t, table.
__device__ void reverseStep(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const float* const x = place.data<const float>(in.inputs[0]);
  const float* const epsilon = place.data<const float>(in.inputs[1]);
  const int32_t t = *place.data<const int32_t>(in.inputs[2]);
  const float* const table = place.data<const float>(in.inputs[3]);
  const bool inside = t >= 0 && t < in.rows;
  const auto scale = [&](int column) { return inside ? table[t * in.perRow + column] : fromBits(0x7FC00000u); };
  const float meanScale = scale(0), epsilonScale = scale(1), sigma = scale(2);
  for (int quad = static_cast<int>(threadIdx.x); 4 * quad < sizeOf(in); quad += kThreads) {
    noise::Floats4 z{{0, 0, 0, 0}};
    if (t != 0) z = normalsOf(in, place, quad);
    GPU_UNROLL
    for (int j = 0; j < 4; j++) {
      if (4 * quad + j >= sizeOf(in)) break;
      const Element e = elementAt(in, 4 * quad + j);
      const float predicted = noise::mul(epsilonScale, epsilon[offsetOf(in.inputs[1], e)]);
      const float mean = noise::mul(meanScale, noise::sub(x[offsetOf(in.inputs[0], e)], predicted));
      y[offsetOf(in.result, e)] = t != 0 ? noise::add(mean, noise::mul(sigma, z.v[j])) : mean;
    }
  }
}

__device__ void combine(const Instruction& in, const Place& place) {
  float* const y = place.data<float>(in.result);
  const float* const coefficients = place.data<const float>(in.inputs[0]);
  forEachElement(in, [&](const Element& e) {
    float sum = coefficients[0] * place.data<const float>(in.inputs[1])[offsetOf(in.inputs[1], e)];
    for (int k = 2; k < in.inputCount; k++)
      sum = sum + coefficients[k - 1] * place.data<const float>(in.inputs[k])[offsetOf(in.inputs[k], e)];
    y[offsetOf(in.result, e)] = sum;
  });
}

__device__ void execute(const Instruction& in, const Place& place, float* partials) {
  switch (in.operation) {
    case Operation::copy: return copyElements(in, place);
    case Operation::toFloat: return castElements(in, place);
    case Operation::fill: return fillElements<float>(in, place);
    case Operation::fillIntegers: return fillElements<int32_t>(in, place);
    case Operation::randn: return drawNormal(in, place);
    case Operation::row: return pickRow(in, place);
    case Operation::embedding: return pickRows(in, place);
    case Operation::maxPool: return poolMaximum(in, place);
    case Operation::product: return multiply(in, place, partials);
    case Operation::ddpmStep: return reverseStep(in, place);
    case Operation::linearCombination: return combine(in, place);
    default: return mapElements(in, place);
  }
}

__device__ void fetchResidents(const Run& run, unsigned char* shared) {
  for (int i = 0; i < run.residentCount; i++) {
    const Resident& resident = run.residents[i];
    float* const to = reinterpret_cast<float*>(shared + resident.shared);
    for (int k = static_cast<int>(threadIdx.x); k < resident.floats; k += kThreads) to[k] = resident.from[k];
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads) runSteps(const Run run, const int steps) {
  GPU_DYNAMIC_SHARED(shared);
  if (run.progress->fault != 0) return;
  fetchResidents(run, shared);
  const double* numbers = run.slots > 0 ? run.progress->values + run.progress->cursor : nullptr;
  float* const partials = reinterpret_cast<float*>(shared + run.partials);
  for (int step = 0; step < steps; step++) {
    const Place place = {shared, numbers + step * run.slots, static_cast<int>(blockIdx.x)};
    for (int i = 0; i < run.instructionCount; i++) {
      execute(run.instructions[i], place, partials);
      __syncthreads();
    }
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

void enqueueSteps(cudaStream_t stream, const Run& run, int images, int steps, size_t sharedBytes) {
  GPU_LAUNCH_SHARED(runSteps, dim3(static_cast<unsigned>(images)), dim3(kThreads), sharedBytes, stream, run, steps);
}

void enqueueCountSteps(cudaStream_t stream, Progress* progress, int steps, int slots, const SlotPlace* pairs, int pairCount,
                       double* places) {
  GPU_LAUNCH(countSteps, dim3(1), dim3(gpu::kWarp), stream, progress, steps, slots, pairs, pairCount, places);
}

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
