// Loops over n adjacent floats, vector by vector; the last vector may be a part of one.
#pragma once

#include "../simd.h"

namespace langevin {
namespace LANGEVIN_ISA {

// Calls f(i, lanes) for the vectors that cover [0, n); within f, `lanes` is a constant for all of them but the last.
template <class F>
LANGEVIN_INLINE static void forEachVector(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) f(i, int64_t{kWidth});
  if (i < n) f(i, n - i);
}

LANGEVIN_SIMD V loadLanes(const float* p, int64_t lanes) { return lanes == kWidth ? load(p) : loadPartial(p, lanes); }
LANGEVIN_SIMD void storeLanes(float* p, V v, int64_t lanes) {
  if (lanes == kWidth) store(p, v);
  else storePartial(p, v, lanes);
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
