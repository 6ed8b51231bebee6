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

// Refuses operands of another dtype.
inline void expectFloat32(const Command& command) {
  bool good = !command.output.present() || command.output.dtype == DType::f32;
  for (int i = 0; i < command.inputCount; i++)
    good = good && (!command.inputs[i].present() || command.inputs[i].dtype == DType::f32);
  if (!good) Launch::refuse("expected float32 operands");
}

}  // namespace cuda
}  // namespace langevin
