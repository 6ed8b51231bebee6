// What launchers ask about their operands, and the sizes of grids.
#pragma once

#include <cstdint>
#include <string>

#include "../launch.h"

namespace langevin {
namespace cuda {

// Blocks along y and z of a grid: beyond them, threads take several turns.
constexpr int64_t kMostBlocks = 65535;

constexpr int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Whether the address suits loads of 16 bytes.
inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Refuses operands of another dtype. Of inputs before `factors`, which may be stored in bf16, this is not asked here.
inline void expectFloat32(const Command& command, int factors = 0) {
  bool good = !command.output.present() || command.output.dtype == DType::f32;
  for (int i = factors; i < command.inputCount; i++)
    good = good && (!command.inputs[i].present() || command.inputs[i].dtype == DType::f32);
  if (!good) Launch::refuse("expected float32 operands");
}

// A size as kernels count, refused where it is beyond what they can.
inline int countOf(int64_t n, const char* what) {
  if (n > INT32_MAX / 2) Launch::refuse(std::to_string(n) + " " + what + " are more than kernels on CUDA count (2^30)");
  return static_cast<int>(n);
}

}  // namespace cuda
}  // namespace langevin
