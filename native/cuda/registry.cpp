// Collects the kernels that LANGEVIN_CUDA_KERNEL registered. Device code comes for one GPU after another inside of a
// kernel, so a static constructor cannot meet the wrong instruction set, as it could on the CPU.
#include "registry.h"

#include <map>
#include <stdexcept>

#include "launch.h"

namespace langevin {
namespace cuda {

namespace {

// Constant-initialised, hence there before any constructor runs.
const Registration* lastRegistered = nullptr;

Kernels collect() {
  std::map<std::string, const Registration*> byName;
  for (const Registration* at = lastRegistered; at != nullptr; at = at->next)
    if (!byName.emplace(at->name, at).second)
      throw std::runtime_error(std::string("CUDA kernel ") + at->name + " is registered twice");
  Kernels kernels;
  for (const auto& [name, record] : byName)
    kernels.push_back({name, record->signature, parseSignature(name, record->signature), nullptr, record->launch});
  return kernels;
}

}  // namespace

Registration::Registration(const char* name, const char* signature, Launcher launch)
    : name(name), signature(signature), launch(launch), next(lastRegistered) {
  lastRegistered = this;
}

void Launch::refuse(const std::string& problem) { throw std::runtime_error(problem); }

const Kernels& kernels() {
  // Never destroyed: when the process exits, queues may still be launching.
  static const Kernels& list = *new Kernels(collect());
  return list;
}

}  // namespace cuda
}  // namespace langevin
