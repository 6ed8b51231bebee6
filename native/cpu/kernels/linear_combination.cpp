// linearCombination: a sum of tensors, each times a coefficient, in one pass.
#include "iterate.h"
#include "strip.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

constexpr int kMostTerms = kMaxRunOperands - 1;

void linearCombination(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const int terms = command.inputCount - 1;
  if (terms < 1 || terms > kMostTerms) {
    context.fail("too many tensors");
    return;
  }
  const Operand* operands[kMaxRunOperands] = {&command.output};
  for (int k = 0; k < terms; k++) operands[k + 1] = &command.inputs[k + 1];
  const Runs runs = runsOf(operands, terms + 1, false);
  const float* const coefficients = command.inputs[0].as<const float>();
  forEachPiece(context, runs.count, runs.length, [&](int64_t run, int64_t start, int64_t n) {
    float* const out = command.output.as<float>() + run * runs.pitch[0] + start;
    const float* x[kMostTerms];
    for (int k = 0; k < terms; k++) x[k] = operands[k + 1]->as<const float>() + run * runs.pitch[k + 1] + start;
    forEachVector(n, [&](int64_t i, auto lanes) {
      V sum = broadcast(coefficients[0]) * loadLanes(x[0] + i, lanes);
      for (int k = 1; k < terms; k++) sum += broadcast(coefficients[k]) * loadLanes(x[k] + i, lanes);
      storeLanes(out + i, sum, lanes);
    });
  });
}

LANGEVIN_KERNEL("linearCombination", "", linearCombination)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
