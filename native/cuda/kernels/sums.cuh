// Sums of what several blocks have summed, for kernels that end in them.
#pragma once

#include "../launch.h"

namespace langevin {
namespace cuda {

// y[column] = the sum of a dense x [rows, columns] over its rows, divided by `divisor`; in an order that follows from the
// shape alone.
void sumRows(const float* x, int64_t rows, int64_t columns, float divisor, float* y, Launch& launch);

}  // namespace cuda
}  // namespace langevin
