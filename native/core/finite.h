// The search for numbers that are not finite, and how failures name them.
#pragma once

#include <string>

#include "command.h"
#include "failure.h"

namespace langevin {

constexpr int64_t kAllFinite = -1;

bool someNotFinite(const float* x, int64_t n);

// Names the first number that is not finite in a row of `x`, which has one; a dense operand counts as one row.
Failure notFinite(const std::string& op, const Operand& x, int64_t row);

}  // namespace langevin
