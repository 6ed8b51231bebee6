// From a program to the persistent sampler, in stages (draft.h), or to the reason why it runs as graphs.
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#include "draft.h"

namespace langevin {
namespace cuda {
namespace persistent {

Device deviceWith(size_t sharedBytes, int multiprocessors, Precision precision) {
  constexpr size_t leastWithTf32 = 99 << 10;
  const Products onTensorCores = precision == Precision::bf16   ? Products::bf16
                                 : precision == Precision::tf32 ? Products::tf32
                                                                : Products::tf32x3;
  return {sharedBytes, sharedBytes >= leastWithTf32 ? onTensorCores : Products::fma, multiprocessors};
}

Decision planPersistent(const Program& program, const Device& device) {
  const char* const wish = std::getenv("LANGEVIN_PERSISTENT");
  if (wish != nullptr && std::strcmp(wish, "off") == 0) return {nullptr, "LANGEVIN_PERSISTENT is off"};
  try {
    Draft d(program, device);
    translate(d);
    joinTails(d);
    cutProducts(d);
    order(d);
    shareOut(d);
    return {std::move(d.sampler), {}};
  } catch (const Refusal& refusal) {
    return {nullptr, refusal.what()};
  }
}

std::string describe(const Decision& decision) {
  if (decision.sampler == nullptr) return "Runs as CUDA graphs, not in one kernel: " + decision.refusal + ".";
  const Sampler& s = *decision.sampler;
  int rounds = 0;
  for (const Instruction& in : s.instructions) rounds += in.waits;
  const char* const products = s.products == Products::fma      ? "by float32 cores"
                               : s.products == Products::tf32x3 ? "on tensor cores, each as three of tf32"
                               : s.products == Products::tf32   ? "on tensor cores in tf32"
                                                                : "on tensor cores in bf16";
  const std::string images = s.together == 1 ? "an image" : "two images";
  return "Runs in one persistent kernel, " + images + " a block: " + std::to_string(s.instructions.size()) +
         " instructions in " + std::to_string(rounds) + " rounds, products " + products + ", " +
         std::to_string(s.sharedBytes) + " bytes of shared memory, " + std::to_string(s.residentWeights) + " of " +
         std::to_string(s.weights) + " weights there" +
         (s.bankedWeights > 0 ? " and " + std::to_string(s.bankedWeights) + " in registers." : ".");
}

size_t bytesOf(const Sampler& s) {
  return aligned(s.instructions.size() * sizeof(Instruction)) + aligned(s.residents.size() * sizeof(Resident)) +
         aligned(s.packings.size() * sizeof(Packing)) + aligned(s.tables.size() * sizeof(int16_t)) +
         static_cast<size_t>(s.packedWords) * sizeof(float);
}

Run placeAt(char* memory, const Sampler& s, Progress* progress, const std::function<void(void*, const void*, size_t)>& upload) {
  const auto next = [&](const auto& list) {
    using Element = typename std::decay_t<decltype(list)>::value_type;
    const size_t bytes = list.size() * sizeof(Element);
    if (bytes > 0) upload(memory, list.data(), bytes);
    const Element* const placed = reinterpret_cast<const Element*>(memory);
    memory += aligned(bytes);
    return placed;
  };
  const auto counted = [](const auto& list) { return static_cast<int32_t>(list.size()); };
  Run run{};
  run.instructions = next(s.instructions);
  run.residents = next(s.residents);
  run.packings = next(s.packings);
  run.tables = next(s.tables);
  run.packed = reinterpret_cast<float*>(memory);
  run.instructionCount = counted(s.instructions);
  run.residentCount = counted(s.residents);
  run.products = s.products;
  run.packingCount = counted(s.packings);
  run.tableCount = counted(s.tables);
  run.images = s.images;
  run.perImage = s.perImage;
  run.partials = s.partials;
  run.tablesShared = s.tablesShared;
  run.banked = s.banked;
  run.slots = s.slots;
  run.progress = progress;
  return run;
}

bool acceptsNumbers(const Sampler& sampler, const std::vector<double>& values) {
  const auto inside = [](const Instruction& in, double row) { return row >= 0 && row < in.rows; };
  for (const Instruction& in : sampler.instructions) {
    if (in.operation != Operation::row) continue;
    if (in.number.slot < 0 && !inside(in, in.number.value)) return false;
    if (in.number.slot < 0) continue;
    for (size_t at = static_cast<size_t>(in.number.slot); at < values.size(); at += static_cast<size_t>(sampler.slots))
      if (!inside(in, values[at])) return false;
  }
  return true;
}

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin