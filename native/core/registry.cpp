// Collects the kernel records that the linker gathered and keeps those of the best instruction set.
#include "registry.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <stdexcept>

// Where the linker put the section of LANGEVIN_KERNEL.
#if defined(__APPLE__)
#define LANGEVIN_SECTION_START "section$start$__DATA$lv_kernels"
#define LANGEVIN_SECTION_END "section$end$__DATA$lv_kernels"
#else
#define LANGEVIN_SECTION_START "__start_langevin_kernels"
#define LANGEVIN_SECTION_END "__stop_langevin_kernels"
#endif
// Weak where that is known, because an addon for tests of the CUDA part alone has no such section.
#if defined(__APPLE__)
#define LANGEVIN_HIDDEN extern "C" __attribute__((visibility("hidden")))
#else
#define LANGEVIN_HIDDEN extern "C" __attribute__((visibility("hidden"), weak))
#endif
LANGEVIN_HIDDEN const langevin::KernelRecord* firstKernel[] __asm__(LANGEVIN_SECTION_START);
LANGEVIN_HIDDEN const langevin::KernelRecord* endOfKernels[] __asm__(LANGEVIN_SECTION_END);

namespace langevin {

namespace {

struct InstructionSet {
  const char* name;
  bool supported;
};

// Best last.
std::vector<InstructionSet> instructionSets() {
  std::vector<InstructionSet> sets{{"baseline", true}};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  sets.push_back({"avx2", avx2});
  sets.push_back({"avx512", avx512});
#endif
  return sets;
}

std::string chooseIsa() {
  const std::vector<InstructionSet> sets = instructionSets();
  const char* wanted = std::getenv("LANGEVIN_ISA");
  if (wanted == nullptr || *wanted == '\0') {
    const char* best = sets.front().name;
    for (const InstructionSet& set : sets)
      if (set.supported) best = set.name;
    return best;
  }
  std::string known;
  for (const InstructionSet& set : sets) {
    if (std::strcmp(set.name, wanted) == 0) {
      if (set.supported) return set.name;
      throw std::runtime_error(std::string("LANGEVIN_ISA asks for ") + wanted + ", which this processor lacks");
    }
    known += known.empty() ? set.name : std::string(", ") + set.name;
  }
  throw std::runtime_error(std::string("LANGEVIN_ISA is '") + wanted + "'; it may be one of: " + known);
}

}  // namespace

std::vector<Attribute> parseSignature(const std::string& kernel, const std::string& signature) {
  std::vector<Attribute> attributes;
  for (size_t at = 0; at < signature.size();) {
    const size_t end = std::min(signature.find(',', at), signature.size());
    const size_t colon = signature.find(':', at);
    if (colon == std::string::npos || colon >= end)
      throw std::runtime_error("kernel " + kernel + ": no kind in signature '" + signature + "'");
    const std::string kind = signature.substr(colon + 1, end - colon - 1);
    if (kind == "int") attributes.push_back({Attribute::Kind::integer});
    else if (kind == "float") attributes.push_back({Attribute::Kind::real});
    else if (kind == "bool") attributes.push_back({Attribute::Kind::boolean});
    else if (kind == "ints") attributes.push_back({Attribute::Kind::integers});
    else if (kind == "seed") attributes.push_back({Attribute::Kind::seed});
    else {
      const int choices = 1 + static_cast<int>(std::count(kind.begin(), kind.end(), '|'));
      attributes.push_back({Attribute::Kind::choice, choices});
    }
    at = end + 1;
  }
  return attributes;
}

const Registry& Registry::get() {
  // Never destroyed: when the process exits, queues may still be running kernels.
  static const Registry& registry = *new Registry;
  return registry;
}

std::vector<std::string> Registry::compiled() {
  std::set<std::string> present;
  for (const KernelRecord** at = firstKernel; at != endOfKernels; at++) present.insert((*at)->isa);
  std::vector<std::string> names;
  for (const InstructionSet& set : instructionSets())
    if (present.count(set.name) > 0) names.push_back(set.name);
  return names;
}

Registry::Registry() : isa_(chooseIsa()) {
  std::map<std::string, const KernelRecord*> chosen;
  std::map<std::string, int> variants;
  for (const KernelRecord** at = firstKernel; at != endOfKernels; at++) {
    const KernelRecord& record = **at;
    variants[record.name]++;
    if (isa_ != record.isa) continue;
    if (!chosen.emplace(record.name, &record).second)
      throw std::runtime_error(std::string("kernel ") + record.name + " is registered twice for " + isa_);
  }
  for (const auto& [name, count] : variants)
    if (chosen.count(name) == 0) throw std::runtime_error("kernel " + name + " was not built for " + isa_);
  for (const auto& [name, record] : chosen)
    kernels_.push_back({name, record->signature, parseSignature(name, record->signature), record->run});
}

}  // namespace langevin
