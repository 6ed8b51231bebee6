// Memory for results that kernels round to bf16.
#pragma once

#include <vector>

#include "../../cuda/gpu.h"
#include "../../cuda/kernels/rounded.cuh"

namespace langevin {
namespace cuda {

// Rows for those of an operand: as plans lay them out, or with a gap behind that.
class Rounded {
 public:
  explicit Rounded(const Operand& like, int64_t gap = 0)
      : pitch_((like.cols() + 7) / 8 * 8 + gap), data_(static_cast<size_t>(like.rows() * pitch_), gpu::Bf16{kNaN}) {}

  Pitched<gpu::Bf16> target() { return {data_.data(), pitch_}; }

  // Whether it holds the float32 operand rounded, and nothing was written beside the rows.
  bool isOf(const Operand& x) const {
    for (int64_t row = 0; row < x.rows(); row++)
      for (int64_t column = 0; column < pitch_; column++) {
        const uint16_t bits = data_[static_cast<size_t>(row * pitch_ + column)].bits;
        if (bits != (column < x.cols() ? roundedBits(x.as<float>()[row * x.pitch + column]) : kNaN)) return false;
      }
    return true;
  }

 private:
  static constexpr uint16_t kNaN = 0x7FC1;  // one that rounding does not give
  static uint16_t roundedBits(float x) { return static_cast<uint16_t>(gpu::packBf16(x, 0.0f)); }

  int64_t pitch_;
  std::vector<gpu::Bf16> data_;
};

}  // namespace cuda
}  // namespace langevin
