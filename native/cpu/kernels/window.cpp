// Sorts the outputs along an axis into classes that read the same taps.
#include "window.h"

namespace langevin {
namespace LANGEVIN_ISA {

namespace {

template <class T>
T* scratchArray(int64_t n, Context& context) {
  return reinterpret_cast<T*>(context.scratch(ceilDivide(most(n, 1) * static_cast<int64_t>(sizeof(T)), 4)));
}

// Whether the output that reads `taps` from `source` on continues the class.
bool continues(const AxisClass& c, const Tap* taps, int64_t tapCount, int64_t source) {
  if (tapCount != c.tapCount) return false;
  if (tapCount > 0 && source != c.source + c.count * c.sourceStep) return false;
  for (int64_t t = 0; t < tapCount; t++)
    if (taps[t].index != c.taps[t].index || taps[t].offset != c.taps[t].offset) return false;
  return true;
}

// Builds the classes from `source(output, tap index)`, which gives the source position or -1. Outputs of different phases
// (modulo `phases`) never share a class.
template <class F>
Axis classify(int64_t outputs, int64_t kernel, int64_t phases, int64_t sourceStep, const F& source, Context& context) {
  AxisClass* const classes = scratchArray<AxisClass>(outputs, context);
  Tap* taps = scratchArray<Tap>((outputs + 1) * kernel, context);
  int64_t n = 0;
  for (int64_t phase = 0; phase < least(phases, outputs); phase++)
    for (int64_t o = phase; o < outputs; o += phases) {
      int64_t tapCount = 0, first = 0;
      for (int64_t k = 0; k < kernel; k++) {
        const int64_t s = source(o, k);
        if (s < 0) continue;
        if (tapCount == 0) first = s;
        taps[tapCount++] = {k, s - first};
      }
      if (o > phase && continues(classes[n - 1], taps, tapCount, first)) {
        classes[n - 1].count++;
        continue;
      }
      classes[n++] = {o, phases, 1, first, tapCount > 0 ? sourceStep : 0, tapCount, taps};
      taps += tapCount;
    }
  return {n, classes};
}

}  // namespace

Axis identityAxis(int64_t size, Context& context) {
  AxisClass* const c = scratchArray<AxisClass>(1, context);
  Tap* const tap = scratchArray<Tap>(1, context);
  *tap = {0, 0};
  *c = {0, 1, size, 0, 1, 1, tap};
  return {size > 0 ? 1 : 0, c};
}

Axis convolutionAxis(const Window& w, Context& context) {
  return classify(
      w.narrow, w.kernel, 1, w.stride,
      [&](int64_t o, int64_t k) {
        const int64_t i = o * w.stride - w.padding + k * w.dilation;
        return i < w.wide ? i : -1;
      },
      context);
}

Axis transposedAxis(const Window& w, Context& context) {
  return classify(
      w.wide, w.kernel, w.stride, 1,
      [&](int64_t i, int64_t reversed) {
        const int64_t distance = i + w.padding - (w.kernel - 1 - reversed) * w.dilation;
        if (distance < 0 || distance % w.stride != 0) return int64_t{-1};
        const int64_t o = distance / w.stride;
        return o < w.narrow ? o : -1;
      },
      context);
}

Range insideRange(const Window& w, int64_t tap) {
  const int64_t shift = w.padding - tap * w.dilation;  // o * stride >= shift and o * stride < shift + wide
  const int64_t begin = shift > 0 ? ceilDivide(shift, w.stride) : 0;
  const int64_t end = shift + w.wide > 0 ? least(w.narrow, ceilDivide(shift + w.wide, w.stride)) : 0;
  return {begin, most(begin, end)};
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
