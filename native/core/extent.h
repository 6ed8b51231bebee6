// Which memory an operand covers.
#pragma once

#include <algorithm>

#include "command.h"

namespace langevin {

inline const char* addressOf(const Operand& x) { return static_cast<const char*>(x.data); }

// Bytes from its first element to behind its last one, gaps between rows included.
inline int64_t extentOf(const Operand& x) {
  if (x.size() == 0) return 0;
  return ((x.rows() - 1) * x.pitch + x.cols()) * static_cast<int64_t>(bytesOf(x.dtype));
}

inline bool overlap(const char* a, int64_t bytesOfA, const char* b, int64_t bytesOfB) {
  return a < b + bytesOfB && b < a + bytesOfA;
}

inline bool overlap(const Operand& a, const Operand& b) {
  return overlap(addressOf(a), extentOf(a), addressOf(b), extentOf(b));
}

inline bool haveSameShape(const Operand& a, const Operand& b) {
  return a.rank == b.rank && std::equal(a.shape, a.shape + a.rank, b.shape);
}

// Whether they are columns of the same rows and have none in common: they overlap then, and share nothing.
inline bool areOtherColumns(const Operand& a, const Operand& b) {
  const Operand &left = addressOf(a) <= addressOf(b) ? a : b, &right = &left == &a ? b : a;
  const int64_t bytes = static_cast<int64_t>(bytesOf(a.dtype)), distance = addressOf(right) - addressOf(left);
  return a.dtype == b.dtype && a.rows() == b.rows() && a.pitch == b.pitch && distance >= left.cols() * bytes &&
         distance + right.cols() * bytes <= a.pitch * bytes;
}

// Whether elements of both lie in the same places.
inline bool coincide(const Operand& a, const Operand& b) {
  return a.data == b.data && a.dtype == b.dtype && haveSameShape(a, b) && (a.pitch == b.pitch || a.rows() <= 1);
}

}  // namespace langevin
