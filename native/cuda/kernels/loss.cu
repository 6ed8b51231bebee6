// The gradient of mseLoss.
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int64_t kReductionMean = 0;  // index in the enumeration mean|sum

// y = (prediction - target) 2 dy, or that over their number; the factor is rounded once.
struct SquaredErrorGradient {
  double terms;  // 1 for a sum
  __device__ float operator()(float prediction, float target, float dy) const {
    return (prediction - target) * static_cast<float>(2.0 * static_cast<double>(dy) / terms);
  }
};

void mseLossGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const bool mean = command.attributes.i() == kReductionMean;
  const double terms = mean ? static_cast<double>(command.output.size()) : 1.0;
  mapInputs<float, float, float, float>(command, launch, SquaredErrorGradient{terms});
}

}  // namespace

LANGEVIN_CUDA_KERNEL("mseLossGradient", "reduction:mean|sum", mseLossGradient)

}  // namespace cuda
}  // namespace langevin
