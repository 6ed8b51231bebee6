// mseLoss, its gradient, and both in one pass over prediction and target.
//
// A block takes 8,192 terms, 32 a thread, and what the blocks have summed is added up in a fixed order (sums.cuh).
#include "elementwise.cuh"
#include "reduce.cuh"
#include "sums.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int64_t kReductionMean = 0;  // index in the enumeration mean|sum
constexpr int64_t kTermsOfBlock = int64_t{kThreads} * 32;

// What a difference is multiplied with in the gradient; rounded once.
__device__ __forceinline__ float slopeOf(float dy, double terms) {
  return static_cast<float>(2.0 * static_cast<double>(dy) / terms);
}

// y = (prediction - target) 2 dy, or that over their number.
struct SquaredErrorGradient {
  double terms;  // 1 for a sum
  __device__ float operator()(float prediction, float target, float dy) const {
    return (prediction - target) * slopeOf(dy, terms);
  }
};

// Four terms from `at` on: adds their squares to `sums`, and writes the third operand.
template <bool withGradient>
__device__ __forceinline__ void takeFour(const Walk<3>& walk, bool quads, int64_t at, float slope, float (&sums)[kQuad]) {
  const float* const prediction = static_cast<const float*>(walk.data[0]);
  const float* const target = static_cast<const float*>(walk.data[1]);
  float* const gradient = static_cast<float*>(walk.data[2]);
  if (quads && at + kQuad <= walk.size) {
    const QuadOf<float> a = loadQuad<float>(prediction, 1, at), b = loadQuad<float>(target, 1, at);
    QuadOf<float> y;
    GPU_UNROLL
    for (int i = 0; i < kQuad; i++) {
      const float d = a.v[i] - b.v[i];
      sums[i] += d * d;
      y.v[i] = d * slope;
    }
    if (withGradient) *reinterpret_cast<QuadOf<float>*>(gradient + at) = y;
    return;
  }
  GPU_UNROLL
  for (int i = 0; i < kQuad; i++) {
    if (at + i >= walk.size) continue;
    int64_t place[3];
    walk.locate(at + i, place);
    const float d = prediction[place[0]] - target[place[1]];
    sums[i] += d * d;
    if (withGradient) gradient[place[2]] = d * slope;
  }
}

// Squares of the differences of walk's first two operands, a sum for each block's part; and slope (prediction - target).
template <bool withGradient>
__global__ void __launch_bounds__(kThreads) squaredErrors(const Walk<3> walk, const bool quads, const float* dy,
                                                          const double terms, const int64_t parts, float* partial) {
  const float slope = withGradient ? slopeOf(*dy, terms) : 0.0f;
  for (int64_t part = blockIdx.x; part < parts; part += gridDim.x) {
    const int64_t begin = part * kTermsOfBlock, end = begin + kTermsOfBlock;
    float sums[kQuad] = {};
    for (int64_t at = begin + kQuad * static_cast<int64_t>(threadIdx.x); at < end && at < walk.size; at += kQuad * kThreads)
      takeFour<withGradient>(walk, quads, at, slope, sums);
    const float sum = blockSum<kThreads>((sums[0] + sums[1]) + (sums[2] + sums[3]));
    if (threadIdx.x == 0) partial[part] = sum;
  }
}

// Enqueues the loss, and the gradient where there is a place for it (else `gradient` is any operand of the shape).
template <bool withGradient>
void meanSquaredError(const Operand& prediction, const Operand& target, const Operand& gradient, const float* dy, bool mean,
                      float* loss, Launch& launch) {
  const Operand* const operands[] = {&prediction, &target, &gradient};
  Walk<3> walk = walkOf<3>(operands);
  walk.collapse();
  const double terms = mean ? static_cast<double>(walk.size) : 1.0;
  const int64_t parts = (walk.size + kTermsOfBlock - 1) / kTermsOfBlock;
  float* const partial = static_cast<float*>(launch.scratch(static_cast<size_t>(parts + 1) * sizeof(float)));
  if (parts > 0)
    GPU_LAUNCH(squaredErrors<withGradient>, gridFor(launch, parts * kThreads), dim3(kThreads), launch.stream(), walk,
               walk.quads(), dy, terms, parts, partial);
  sumRows(partial, parts, 1, static_cast<float>(terms), loss, launch);
}

bool readsMean(Command& command) { return command.attributes.i() == kReductionMean; }

void mseLoss(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand &prediction = command.inputs[0], &target = command.inputs[1];
  meanSquaredError<false>(prediction, target, target, nullptr, readsMean(command), command.output.as<float>(), launch);
}

void mseLossWithGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand* const in = command.inputs;
  meanSquaredError<true>(in[2], in[3], in[1], in[4].as<const float>(), readsMean(command), in[0].as<float>(), launch);
}

void mseLossGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const double terms = readsMean(command) ? static_cast<double>(command.output.size()) : 1.0;
  mapInputs<float, float, float, float>(command, launch, SquaredErrorGradient{terms});
}

}  // namespace

LANGEVIN_CUDA_KERNEL("mseLoss", "reduction:mean|sum", mseLoss)
LANGEVIN_CUDA_KERNEL("mseLossGradient", "reduction:mean|sum", mseLossGradient)
LANGEVIN_CUDA_KERNEL("mseLossWithGradient", "reduction:mean|sum", mseLossWithGradient)

}  // namespace cuda
}  // namespace langevin
