// Loops over n adjacent floats, vector by vector; the last vector may be a part of one.
#pragma once

#include "../simd.h"

namespace langevin {
namespace LANGEVIN_ISA {

// The number of lanes of a whole vector, as a type of its own: code for it is compiled apart from that for parts.
struct WholeVector {
  constexpr operator int64_t() const { return kWidth; }
};

// Calls f(i, lanes) for the vectors that cover [0, n); `lanes` is a WholeVector, or a number for the last.
template <class F>
LANGEVIN_INLINE static void forEachVector(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) f(i, WholeVector{});
  if (i < n) f(i, n - i);
}

LANGEVIN_SIMD V loadLanes(const float* p, WholeVector) { return load(p); }
LANGEVIN_SIMD V loadLanes(const float* p, int64_t lanes) { return lanes == kWidth ? load(p) : loadPartial(p, lanes); }
LANGEVIN_SIMD void storeLanes(float* p, V v, WholeVector) { store(p, v); }
LANGEVIN_SIMD void storeLanes(float* p, V v, int64_t lanes) {
  if (lanes == kWidth) store(p, v);
  else storePartial(p, v, lanes);
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
