// What a program's graphs do besides its commands: give them the numbers of their step, and gather what is reported.
#pragma once

#include <cstdint>

#include "launch.h"

namespace langevin {
namespace cuda {

// How far a program is, in device memory. After a fault, `lists` and `steps` stand still.
struct Progress {
  unsigned long long fault;  // site of the first one; 0: none
  long long lists;           // that began
  long long steps;           // that are complete
  long long cursor;          // of the next number among `values`
  const double* values;      // of slots, in the order in which lists run
};

// A slot of a list and one of the places that its number goes to.
struct SlotPlace {
  int32_t slot;
  int32_t place;
};

struct ReportSource {
  const void* data;
  int32_t dtype;  // DType
};

// Before the commands of a list: gives their places the next `slots` numbers.
void enqueueBeginList(cudaStream_t stream, Progress* progress, int slots, const SlotPlace* pairs, int pairCount,
                      double* places);

// After the last list of a step: puts its reports into their row of the ring.
void enqueueEndStep(cudaStream_t stream, Progress* progress, const ReportSource* reports, int reportCount, double* ring,
                    int rows);

}  // namespace cuda
}  // namespace langevin
