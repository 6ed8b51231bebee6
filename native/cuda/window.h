// Runs a replay graph after graph, so many ahead of the device that it never waits, and so few that a stop comes soon.
#pragma once

#include <atomic>
#include <deque>

#include "graphs.h"

namespace langevin {
namespace cuda {

// Runs until something ends it: the last step, a fault, `Replay::stop` or `dropped`. Throws CudaError.
void runInWindows(Replay& replay, DeviceProgram& program, const std::atomic<bool>& dropped);

}  // namespace cuda
}  // namespace langevin
