// linearCombination: a sum of tensors, each times a coefficient, in one pass.
#include "chain.cuh"

namespace langevin {
namespace cuda {
namespace {

// In the order of the terms, every operation rounded to float32. The coefficients come first.
void linearCombination(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const int terms = command.inputCount - 1;
  if (terms > kMostLinks) Launch::refuse("too many tensors");
  ChainBuilder chain(command.output);
  for (int k = 0; k < terms; k++) {
    Operand coefficient;
    coefficient.data = command.inputs[0].as<float>() + k;
    if (k == 0) chain.add(ElementOp::mul, {&coefficient, &command.inputs[1]});
    else chain.add(ElementOp::addTerm, {nullptr, &coefficient, &command.inputs[k + 1]});
  }
  chain.finish(command.output, launch);
}

}  // namespace

LANGEVIN_CUDA_KERNEL("linearCombination", "", linearCombination)

}  // namespace cuda
}  // namespace langevin
