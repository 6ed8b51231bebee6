// The standalone suite of CUDA kernels on the host: what a file of checks needs.
//
// A file checks the ops of one family and says so in one line, CUDA_CHECKS("name", function). For each op it makes a Case
// (native/test/cases.h: random inputs of odd shapes, the result in double precision) and hands it to `check`, which runs the
// kernel under several schedules and pitches: outputs are NaN before, sentinels lie around and between rows, and the bits must
// be the same every time.
#pragma once

#include <functional>
#include <string>

#include "../../core/precision.h"
#include "../../cuda/launch.h"
#include "../cases.h"

namespace langevin {
namespace cuda {

// How thorough to be: 1 for sanitizers, more elsewhere.
struct Effort {
  int rounds;
};

struct CheckFamily {
  CheckFamily(const char* name, void (*run)(Random&, Effort));
  const char* const name;
  void (*const run)(Random&, Effort);
  const CheckFamily* const next;
};

#define CUDA_CHECKS(name, function) static const ::langevin::cuda::CheckFamily function##Family(name, function)

// The op of the case as it is registered, in a program of some precision.
void check(const Case& c, Precision precision = Precision::float32);

// Something that no op's record names, run in its place: gets the operands as the op would.
void check(const Case& c, const std::function<void(Command&, Launch&)>& launcher, Precision precision = Precision::float32);

// Runs the op of this name in the midst of such a launcher.
void run(const std::string& kernel, Command& command, Launch& launch);

// Notes a failure of the case with this label, unless `good`.
void expect(bool good, const std::string& label, const char* what);

}  // namespace cuda
}  // namespace langevin
