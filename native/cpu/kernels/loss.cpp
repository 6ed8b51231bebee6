// mseLoss and its gradient: squared error over all elements, summed pairwise.
#include "pairwise.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

constexpr int64_t kReductionMean = 0;  // index in the enumeration mean|sum

void mseLoss(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &prediction = command.inputs[0], &target = command.inputs[1];
  const Operand* const operands[2] = {&prediction, &target};
  const Runs runs = runsOf(operands, 2, false);
  const int64_t terms = runs.count * runs.length, perPart = kBlocksPerSum * kTerms, parts = ceilDivide(terms, perPart);
  float* const sums = context.scratch(most(1, parts));
  context.parallelFor(parts, [&](int64_t part) {
    const int64_t begin = part * perPart;
    sums[part] = subtreeSum<float>(least(perPart, terms - begin), [&](int64_t start, int64_t n, float* squares) {
      for (int64_t i = 0; i < n;) {
        const int64_t term = begin + start + i, run = term / runs.length, at = term % runs.length;
        const int64_t m = least(n - i, runs.length - at);
        const float* const a = prediction.as<const float>() + run * runs.pitch[0] + at;
        const float* const b = target.as<const float>() + run * runs.pitch[1] + at;
        float* const square = squares + i;
        LANGEVIN_IVDEP
        for (int64_t j = 0; j < m; j++) square[j] = (a[j] - b[j]) * (a[j] - b[j]);
        i += m;
      }
      return squares;
    });
  });
  if (parts == 0) sums[0] = 0;
  else foldRows(sums, parts, 1);
  const bool mean = command.attributes.i() == kReductionMean;
  *command.output.as<float>() = mean ? sums[0] / static_cast<float>(terms) : sums[0];
}

void mseLossGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &prediction = command.inputs[0], &target = command.inputs[1], &y = command.output;
  const Operand* const operands[3] = {&y, &prediction, &target};
  const Runs runs = runsOf(operands, 3, false);
  const bool mean = command.attributes.i() == kReductionMean;
  const double dy = *command.inputs[2].as<const float>();
  const float scale = static_cast<float>(mean ? 2.0 * dy / static_cast<double>(y.size()) : 2.0 * dy);
  forEachPiece(context, runs.count, runs.length, [&](int64_t run, int64_t start, int64_t n) {
    float* const out = y.as<float>() + run * runs.pitch[0] + start;
    const float* const a = prediction.as<const float>() + run * runs.pitch[1] + start;
    const float* const b = target.as<const float>() + run * runs.pitch[2] + start;
    LANGEVIN_IVDEP
    for (int64_t i = 0; i < n; i++) out[i] = (a[i] - b[i]) * scale;
  });
}

LANGEVIN_KERNEL("mseLoss", "reduction:mean|sum", mseLoss)
LANGEVIN_KERNEL("mseLossGradient", "reduction:mean|sum", mseLossGradient)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
