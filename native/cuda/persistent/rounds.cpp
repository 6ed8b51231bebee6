// Which instructions are done at the same time.
#include <algorithm>
#include <limits>
#include <utility>

#include "draft.h"

namespace langevin {
namespace cuda {
namespace persistent {

namespace {

constexpr int kSums = 128;  // of a tile: 16 channels of 8 pixels

// What an instruction reads and writes: rooms, and all of device memory as one.
struct Reach {
  static constexpr int deviceMemory = -1;
  std::vector<int> reads;
  int writes = deviceMemory;

  bool touches(int room) const { return room == writes || std::find(reads.begin(), reads.end(), room) != reads.end(); }
  bool meets(const Reach& other) const { return touches(other.writes) || other.touches(writes); }
};

Reach reachOf(const Draft& d, size_t i) {
  const Instruction& in = d.sampler->instructions[i];
  Reach reach{{d.homes[i].inputs, d.homes[i].inputs + in.inputCount}, d.homes[i].result};
  for (int k = 0; k < in.tailCount; k++)
    if (in.tails[k].other.present()) reach.reads.push_back(d.homes[i].tails[k]);
  return reach;
}

// Drawing noise takes as long as a product: it is done beside the first one.
void putOffDraws(const std::vector<Instruction>& instructions, const std::vector<Reach>& reach, std::vector<int>& rounds) {
  int product = std::numeric_limits<int>::max();
  for (size_t i = 0; i < instructions.size(); i++)
    if (instructions[i].operation == Operation::product) product = std::min(product, rounds[i]);
  for (size_t i = 0; i < instructions.size(); i++) {
    if (instructions[i].operation != Operation::randn) continue;
    int needed = std::numeric_limits<int>::max();
    for (size_t after = i + 1; after < instructions.size(); after++)
      if (reach[i].meets(reach[after])) needed = std::min(needed, rounds[after]);
    if (product > rounds[i] && product < needed) rounds[i] = product;
  }
}

std::vector<int> roundsOf(const Draft& d) {
  std::vector<Reach> reach;
  for (size_t i = 0; i < d.sampler->instructions.size(); i++) reach.push_back(reachOf(d, i));
  std::vector<int> rounds(reach.size(), 0);
  for (size_t i = 0; i < reach.size(); i++)
    for (size_t before = 0; before < i; before++)
      if (reach[before].meets(reach[i])) rounds[i] = std::max(rounds[i], rounds[before] + 1);
  putOffDraws(d.sampler->instructions, reach, rounds);
  return rounds;
}

// A room is in use from the first to the last of these rounds.
void inhabit(std::vector<Room>& rooms, const Reach& reach, int64_t round) {
  const auto extend = [&](int room) {
    if (room == Reach::deviceMemory) return;
    Program::Temporary& memory = rooms[static_cast<size_t>(room)].memory;
    memory.start = std::min(memory.start, round);
    memory.end = std::max(memory.end, round);
  };
  extend(reach.writes);
  for (const int room : reach.reads) extend(room);
}

// Warps that have something to do.
int warpsOf(const Instruction& in) {
  const Pieces& p = in.pieces;
  if (in.operation == Operation::product && p.blocks > 0) return std::min(kWarps, p.unitCount());
  if (in.operation == Operation::groupNorm) return std::min(kWarps, in.groups);
  const int elements = in.size[0] * in.size[1] * in.size[2];
  const int each = in.operation == Operation::randn ? 4 : 1;
  return std::min(kWarps, (elements + 32 * each - 1) / (32 * each));
}

// Bytes for sums of its parts.
size_t partialsOf(const Instruction& in) {
  if (in.operation != Operation::product) return 0;
  const Pieces& p = in.pieces;
  const size_t floats =
      p.blocks > 0 ? static_cast<size_t>(p.parts) * static_cast<size_t>(p.perPart) * kSums
                   : static_cast<size_t>(in.weights.parts) * static_cast<size_t>(in.size[0] * in.size[1]) *
                         static_cast<size_t>((in.size[2] + kTile - 1) / kTile * kTile);
  return floats * sizeof(float);
}

}  // namespace

void order(Draft& d) {
  std::vector<Instruction>& instructions = d.sampler->instructions;
  const std::vector<int> rounds = roundsOf(d);
  std::vector<size_t> order(instructions.size());
  for (size_t i = 0; i < order.size(); i++) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rounds[a] < rounds[b]; });
  for (Room& room : d.rooms) room.memory.start = std::numeric_limits<int64_t>::max(), room.memory.end = -1;
  std::vector<Instruction> sorted;
  std::vector<Homes> homes;
  int warps = 0;
  size_t partials = 0;
  for (const size_t i : order) {
    Instruction in = instructions[i];
    in.waits = sorted.empty() || rounds[i] != homes.back().position;
    if (in.waits) warps = 0, partials = 0;
    in.firstWarp = warps % kWarps;
    in.partials = count(static_cast<int64_t>(partials));
    warps += warpsOf(in);
    partials += partialsOf(in);
    d.partialBytes = std::max(d.partialBytes, partials);
    sorted.push_back(in);
    homes.push_back(d.homes[i]);
    homes.back().position = rounds[i];
    inhabit(d.rooms, reachOf(d, i), rounds[i]);
  }
  instructions = std::move(sorted);
  d.homes = std::move(homes);
}

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
