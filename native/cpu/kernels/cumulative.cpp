// cumsum and cumprod, which carry doubles from element to element (unsigned words for int32), and the gradient of
// cumprod.
#include "lines.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

template <class T>
struct SumSoFar {
  static constexpr T kStart = 0;
  static LANGEVIN_INLINE T next(T total, T x) { return total + x; }
};
struct ProductSoFar {
  static constexpr double kStart = 1;
  static LANGEVIN_INLINE double next(double product, double x) { return product * x; }
};

int axisOf(int64_t axis, const Operand& x) { return static_cast<int>(axis < 0 ? axis + x.rank : axis); }

// y[i] = the total of x[0] ... x[i] along every line, or of x[i] ... x[n - 1].
template <class T, class Total, class Scan>
void scan(Command& command, Context& context, int axis, bool reverse) {
  const Operand &x = command.inputs[0], &y = command.output;
  const Operand* const operands[2] = {&y, &x};
  const Lines<2> lines(y.rank, y.shape, axis, operands);
  const int64_t n = lines.length, first = reverse ? n - 1 : 0, sign = reverse ? -1 : 1;
  const int64_t toStep = sign * lines.step[0], fromStep = sign * lines.step[1];
  forEachLine(context, lines, [&](const int64_t* offset, int64_t width) {
    T* to = y.as<T>() + offset[0] + first * lines.step[0];
    const T* from = x.as<const T>() + offset[1] + first * lines.step[1];
    if (width == 1) {
      Total total = Scan::kStart;
      for (int64_t i = 0; i < n; i++) to[i * toStep] = static_cast<T>(total = Scan::next(total, from[i * fromStep]));
      return;
    }
    Total totals[kLines];
    for (int64_t c = 0; c < width; c++) totals[c] = Scan::kStart;
    for (int64_t i = 0; i < n; i++, to += toStep, from += fromStep) {
      LANGEVIN_IVDEP
      for (int64_t c = 0; c < width; c++) to[c] = static_cast<T>(totals[c] = Scan::next(totals[c], from[c]));
    }
  });
}

void cumsum(Command& command, Context& context) {
  if (!expectSameWords(command, context)) return;
  const int axis = axisOf(command.attributes.i(), command.output);
  const bool reverse = command.attributes.b();
  if (command.output.dtype == DType::f32) scan<float, double, SumSoFar<double>>(command, context, axis, reverse);
  else scan<uint32_t, uint32_t, SumSoFar<uint32_t>>(command, context, axis, reverse);
}

void cumprod(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  scan<float, double, ProductSoFar>(command, context, axisOf(command.attributes.i(), command.output), false);
}

void cumprodGradient(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const Operand &x = command.inputs[0], &dy = command.inputs[1], &dx = command.output;
  const Operand* const operands[3] = {&dx, &x, &dy};
  const Lines<3> lines(dx.rank, dx.shape, axisOf(command.attributes.i(), dx), operands);
  forEachLine(context, lines, [&](const int64_t* offset, int64_t width) {
    double carried[kLines];
    for (int64_t c = 0; c < width; c++) carried[c] = 1;
    for (int64_t i = 0; i < lines.length; i++) {  // the product before i
      float* const to = dx.as<float>() + offset[0] + i * lines.step[0];
      const float* const at = x.as<const float>() + offset[1] + i * lines.step[1];
      LANGEVIN_IVDEP
      for (int64_t c = 0; c < width; c++) {
        to[c] = static_cast<float>(carried[c]);
        carried[c] *= at[c];
      }
    }
    for (int64_t c = 0; c < width; c++) carried[c] = 0;
    for (int64_t i = lines.length - 1; i >= 0; i--) {  // times dy[i] + x[i + 1] (dy[i + 1] + ...)
      float* const to = dx.as<float>() + offset[0] + i * lines.step[0];
      const float* const at = x.as<const float>() + offset[1] + i * lines.step[1];
      const float* const slope = dy.as<const float>() + offset[2] + i * lines.step[2];
      LANGEVIN_IVDEP
      for (int64_t c = 0; c < width; c++) {
        carried[c] += slope[c];
        to[c] = static_cast<float>(to[c] * carried[c]);
        carried[c] *= at[c];
      }
    }
  });
}

LANGEVIN_KERNEL("cumsum", "axis:int,reverse:bool", cumsum)
LANGEVIN_KERNEL("cumprod", "axis:int", cumprod)
LANGEVIN_KERNEL("cumprodGradient", "axis:int", cumprodGradient)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
