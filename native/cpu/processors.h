// How many processors this process may use.
#pragma once

#include <string>

namespace langevin {

// By the affinity mask and, on Linux, by the CPU quota of its control groups, as containers have one. At least 1.
int availableProcessors();

// The processors that version 2 of control groups grants: the least that the process's group, named in the file
// `membership`, and the groups around it allow. `hierarchy` is where they are mounted. Infinity where nothing limits it.
double processorQuota(const std::string& membership, const std::string& hierarchy);

}  // namespace langevin
