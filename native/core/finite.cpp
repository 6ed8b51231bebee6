// Looks at the bits of numbers, so that no setting of a compiler can lose a NaN.
#include "finite.h"

#include <cstring>

namespace langevin {

namespace {

constexpr uint32_t kExponent = 0x7f800000;  // all of it set: infinity or NaN

// Position of the first number of a row that is not finite.
int64_t firstNotFinite(const float* x, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (someNotFinite(x + i, 1)) return i;
  return kAllFinite;
}

std::string listOf(const int64_t* numbers, int count) {
  std::string text = "[";
  for (int i = 0; i < count; i++) text += (i > 0 ? ", " : "") + std::to_string(numbers[i]);
  return text + "]";
}

}  // namespace

bool someNotFinite(const float* x, int64_t n) {
  uint32_t found = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    found |= (bits & kExponent) == kExponent;
  }
  return found != 0;
}

Failure notFinite(const std::string& op, const Operand& output, int64_t row) {
  const float* const x = output.as<const float>() + row * output.pitch;
  const int64_t column = firstNotFinite(x, output.dense() ? output.size() : output.cols());
  int64_t place[kMaxRank] = {};
  int64_t rest = row * output.cols() + column;
  for (int i = output.rank - 1; i >= 0; i--) {
    place[i] = rest % output.shape[i];
    rest /= output.shape[i];
  }
  const char* const value = x[column] != x[column] ? "NaN" : x[column] > 0 ? "Infinity" : "-Infinity";
  return {op, "element " + listOf(place, output.rank) + " of the result (shape " + listOf(output.shape, output.rank) +
                  ") is " + value};
}

}  // namespace langevin
