// mseLoss and its gradient: squared error over all elements, summed pairwise.
#include "pairwise.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

constexpr int64_t kReductionMean = 0;  // index in the enumeration mean|sum

// Whether the attribute says "mean"; and what a difference is multiplied with in the gradient of `terms` elements.
bool readsMean(Command& command) { return command.attributes.i() == kReductionMean; }
float gradientScale(bool mean, double dy, int64_t terms) {
  return static_cast<float>(mean ? 2.0 * dy / static_cast<double>(terms) : 2.0 * dy);
}

// Sum of squares of prediction - target; where `gradient` is given, scale (prediction - target) is written there.
float squaredError(const Operand& prediction, const Operand& target, const Operand* gradient, float scale,
                   Context& context) {
  const Operand* const operands[3] = {&prediction, &target, gradient ? gradient : &target};
  const Runs runs = runsOf(operands, 3, false);
  const int64_t terms = runs.count * runs.length, perPart = kBlocksPerSum * kTerms, parts = ceilDivide(terms, perPart);
  if (parts == 0) return 0;
  float* const sums = context.scratch(parts);
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
        if (gradient) {
          float* const out = gradient->as<float>() + run * runs.pitch[2] + at;
          LANGEVIN_IVDEP
          for (int64_t j = 0; j < m; j++) out[j] = (a[j] - b[j]) * scale;
        }
        i += m;
      }
      return squares;
    });
  });
  foldRows(sums, parts, 1);
  return sums[0];
}

float lossOf(float sum, bool mean, int64_t terms) { return mean ? sum / static_cast<float>(terms) : sum; }

void mseLoss(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &prediction = command.inputs[0], &target = command.inputs[1];
  const bool mean = readsMean(command);
  *command.output.as<float>() = lossOf(squaredError(prediction, target, nullptr, 0, context), mean, prediction.size());
}

void mseLossWithGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &gradient = command.inputs[1], &prediction = command.inputs[2], &target = command.inputs[3];
  const bool mean = readsMean(command);
  const int64_t terms = prediction.size();
  const float scale = gradientScale(mean, *command.inputs[4].as<const float>(), terms);
  const float sum = squaredError(prediction, target, &gradient, scale, context);
  *command.inputs[0].as<float>() = lossOf(sum, mean, terms);
}

void mseLossGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &prediction = command.inputs[0], &target = command.inputs[1], &y = command.output;
  const Operand* const operands[3] = {&y, &prediction, &target};
  const Runs runs = runsOf(operands, 3, false);
  const bool mean = readsMean(command);
  const float scale = gradientScale(mean, *command.inputs[2].as<const float>(), y.size());
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
LANGEVIN_KERNEL("mseLossWithGradient", "reduction:mean|sum", mseLossWithGradient)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
