// linearCombination: a sum of tensors, each times a coefficient, in one pass.
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

// In the order of the terms, every operation rounded to float32. The coefficients come first.
template <int N>
__global__ void __launch_bounds__(kThreads) combine(const Walk<N + 1> walk, const float* coefficients) {
  for (int64_t i = firstTurn(); i < walk.size; i += turnStep()) {
    int64_t offset[N + 1];
    walk.locate(i, offset);
    float sum = coefficients[0] * static_cast<const float*>(walk.data[1])[offset[1]];
    for (int k = 1; k < N; k++) sum = sum + coefficients[k] * static_cast<const float*>(walk.data[k + 1])[offset[k + 1]];
    static_cast<float*>(walk.data[0])[offset[0]] = sum;
  }
}

template <int N>
void combineTerms(Command& command, Launch& launch) {
  const Operand* operands[N + 1] = {&command.output};
  for (int k = 1; k <= N; k++) operands[k] = &command.inputs[k];
  Walk<N + 1> walk = walkOf<N + 1>(operands);
  walk.collapse();
  if (walk.size == 0) return;
  GPU_LAUNCH(combine<N>, gridFor(launch, walk.size), dim3(kThreads), launch.stream(), walk,
             command.inputs[0].as<const float>());
}

void linearCombination(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  switch (command.inputCount - 1) {
    case 1: return combineTerms<1>(command, launch);
    case 2: return combineTerms<2>(command, launch);
    case 3: return combineTerms<3>(command, launch);
    case 4: return combineTerms<4>(command, launch);
    case 5: return combineTerms<5>(command, launch);
    case 6: return combineTerms<6>(command, launch);
    case 7: return combineTerms<7>(command, launch);
    case 8: return combineTerms<8>(command, launch);
    default: Launch::refuse("too many tensors");
  }
}

}  // namespace

LANGEVIN_CUDA_KERNEL("linearCombination", "", linearCombination)

}  // namespace cuda
}  // namespace langevin
