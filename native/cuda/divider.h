// Division by a number that is known before a kernel runs, without the instructions that dividing takes on a GPU.
#pragma once

#include <cstdint>

#include "../noise/philox.h"  // LANGEVIN_HD

namespace langevin {
namespace cuda {

// For n < 2^31 (Granlund and Montgomery 1994).
class Divider {
 public:
  Divider() = default;
  explicit Divider(int divisor) : divisor_(divisor) {
    while ((int64_t{1} << shift_) < divisor) shift_++;
    const uint64_t excess = (uint64_t{1} << shift_) - static_cast<uint64_t>(divisor);
    multiplier_ = static_cast<uint32_t>((excess << 32) / static_cast<uint64_t>(divisor) + 1);
  }
  LANGEVIN_HD int quotient(int n) const {
    const uint32_t high = static_cast<uint32_t>(static_cast<uint64_t>(static_cast<uint32_t>(n)) * multiplier_ >> 32);
    return static_cast<int>((high + static_cast<uint32_t>(n)) >> shift_);
  }
  // n = quotient * divisor + rest.
  LANGEVIN_HD int divide(int n, int& rest) const {
    const int q = quotient(n);
    rest = n - q * divisor_;
    return q;
  }

 private:
  int divisor_ = 1;
  uint32_t multiplier_ = 1;
  int shift_ = 0;
};

}  // namespace cuda
}  // namespace langevin
