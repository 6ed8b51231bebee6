// Arithmetic on sizes and counts. Templates of the standard library would be weak symbols of an instruction set.
#pragma once

#include <cstdint>

#include "../../core/command.h"
#include "../isa.h"

namespace langevin {
namespace LANGEVIN_ISA {

static LANGEVIN_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static LANGEVIN_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static LANGEVIN_INLINE int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace LANGEVIN_ISA
}  // namespace langevin
