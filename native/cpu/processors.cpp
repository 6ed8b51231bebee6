// Reads the affinity mask and the control groups' quota.
#include "processors.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace langevin {

namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// cpu.max holds microseconds of processor time and of the period that grants them, "150000 100000", or "max 100000".
double quotaOf(const std::string& group) {
  std::ifstream file(group + "/cpu.max");
  double granted, period;
  return file >> granted >> period && period > 0 ? granted / period : kUnlimited;
}

int processorsByAffinity() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

double processorQuota(const std::string& membership, const std::string& hierarchy) {
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, 4, "0::/") != 0) continue;
    double quota = quotaOf(hierarchy);
    for (std::string path = line.substr(3); path.size() > 1; path.resize(path.rfind('/')))
      quota = std::min(quota, quotaOf(hierarchy + path));
    return quota;
  }
  return kUnlimited;
}

int availableProcessors() {
  const double processors = std::max(processorsByAffinity(), 1);
#if defined(__linux__)
  // Rounded up: part of a processor's time is more than none of it.
  const double quota = std::ceil(processorQuota("/proc/self/cgroup", "/sys/fs/cgroup"));
  return static_cast<int>(std::max(std::min(processors, quota), 1.0));
#else
  return static_cast<int>(processors);
#endif
}

}  // namespace langevin
