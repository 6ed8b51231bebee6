// What lies where in shared memory, and which weights are there or in registers.
#include <algorithm>
#include <cstring>

#include "draft.h"

namespace langevin {
namespace cuda {
namespace persistent {

namespace {

// Gives every room a place in shared memory, the larger ones first, so that rooms of one time do not overlap.
size_t arrange(std::vector<Room>& rooms) {
  std::vector<Room*> order;
  for (Room& room : rooms)
    if (room.known) order.push_back(&room);
  std::stable_sort(order.begin(), order.end(), [](const Room* a, const Room* b) { return a->bytes > b->bytes; });
  size_t total = 0;
  for (size_t i = 0; i < order.size(); i++) {
    std::vector<const Room*> beside;
    for (size_t k = 0; k < i; k++)
      if (order[k]->memory.start <= order[i]->memory.end && order[i]->memory.start <= order[k]->memory.end)
        beside.push_back(order[k]);
    std::sort(beside.begin(), beside.end(), [](const Room* a, const Room* b) { return a->shared < b->shared; });
    size_t at = 0;
    for (const Room* other : beside) {
      if (other->shared >= at + order[i]->bytes) break;
      at = std::max(at, other->shared + aligned(other->bytes));
    }
    order[i]->shared = at;
    total = std::max(total, at + aligned(order[i]->bytes));
  }
  return total;
}

template <class F>
void forEachView(Draft& d, size_t instruction, const F& f) {
  Instruction& in = d.sampler->instructions[instruction];
  const Homes& homes = d.homes[instruction];
  f(in.result, homes.result);
  for (int k = 0; k < in.inputCount; k++) f(in.inputs[k], homes.inputs[k]);
  for (int k = 0; k < in.tailCount; k++) f(in.tails[k].other, homes.tails[k]);
}

// Words from pixel to pixel, where all views of a room agree on that; else 0.
int32_t pitchOf(const std::vector<View*>& views) {
  int32_t pitch = 0;
  for (const View* const view : views) pitch = std::max(pitch, view->stride[1]);
  const auto agrees = [&](const View* view) {
    return view->stride[1] == pitch && view->stride[0] % pitch == 0 && view->stride[2] <= 1;
  };
  return pitch > 0 && std::all_of(views.begin(), views.end(), agrees) ? pitch : 0;
}

// Neighbouring pixels that a warp reads at the same time must not lie in the same banks, as they do where they are a multiple
// of 32 words apart: gaps move them on by half of that.
void spreadPixels(Draft& d) {
  constexpr int32_t banks = 32, gap = 16;
  std::vector<std::vector<View*>> views(d.rooms.size());
  for (size_t i = 0; i < d.sampler->instructions.size(); i++) forEachView(d, i, [&](View& view, int home) {
    if (home >= 0) views[static_cast<size_t>(home)].push_back(&view);
  });
  for (size_t room = 0; room < d.rooms.size(); room++) {
    const int32_t pitch = pitchOf(views[room]);
    if (pitch == 0 || pitch % banks != 0) continue;
    for (View* const view : views[room]) {
      const int32_t words = view->shared / 4;
      view->shared = (words / pitch * (pitch + gap) + words % pitch) * 4;
      for (int axis = 0; axis < 2; axis++) view->stride[axis] = view->stride[axis] / pitch * (pitch + gap);
    }
    const size_t pixel = static_cast<size_t>(pitch) * 4;
    d.rooms[room].bytes = (d.rooms[room].bytes + pixel - 1) / pixel * (pixel + gap * 4);
  }
}

void settle(const Draft& d, View& view, int home) {
  if (home >= 0) view.shared += static_cast<int32_t>(d.rooms[static_cast<size_t>(home)].shared);
}

int32_t weightsOf(const Pieces& p) { return p.blocks * p.steps * kBlockWeights; }

// The largest product that reads its weights only once, and has no more units than there are warps.
void fillRegisters(Sampler& sampler) {
  const int bankSteps = bankStepsOf(sampler.products, sampler.together);
  if (bankSteps == 0) return;
  Instruction* best = nullptr;
  for (Instruction& in : sampler.instructions) {
    const Pieces& p = in.pieces;
    if (in.operation != Operation::product || p.tiles > 1 || p.groups > 1 || p.chunks == 0 || p.blocks > kWarps) continue;
    if (best == nullptr || weightsOf(p) > weightsOf(best->pieces)) best = &in;
  }
  if (best == nullptr) return;
  Pieces& p = best->pieces;
  p.banked = true;
  sampler.banked = static_cast<int>(best - sampler.instructions.data());
  sampler.bankedWeights = std::min<int64_t>(weightsOf(p), int64_t{p.blocks} * p.parts * bankSteps * kBlockWeights);
}

// Products whose weights lie in device memory and do not change: those first whose weights are read most often, that in
// registers last.
std::vector<size_t> byReads(const Draft& d) {
  std::vector<size_t> products;
  for (size_t i = 0; i < d.sampler->instructions.size(); i++) {
    const Instruction& in = d.sampler->instructions[i];
    if (in.operation == Operation::product && in.inputs[1].device != nullptr && !isWritten(d, i)) products.push_back(i);
  }
  const auto reads = [&](size_t i) {
    const Instruction& in = d.sampler->instructions[i];
    if (in.pieces.banked) return 0;
    return in.pieces.blocks > 0 ? in.pieces.groups : (in.size[0] * in.size[1] + kTile - 1) / kTile;
  };
  std::stable_sort(products.begin(), products.end(), [&](size_t a, size_t b) { return reads(a) > reads(b); });
  return products;
}

size_t placeWhole(Draft& d, Instruction& in, int64_t floats, size_t used) {
  const size_t bytes = aligned(static_cast<size_t>(floats) * sizeof(float));
  if (used + bytes > d.device.sharedBytes) return 0;
  View& weights = in.inputs[1];
  d.sampler->residents.push_back({static_cast<const float*>(weights.device), 0, count(floats), static_cast<int32_t>(used)});
  weights.device = nullptr;
  weights.shared = static_cast<int32_t>(used);
  d.sampler->residentWeights += floats;
  return bytes;
}

// As many blocks of channels as there is room for.
size_t placeBlocks(Draft& d, const Instruction& in, size_t used) {
  const Pieces& p = in.pieces;
  const int32_t words = p.steps * wordsOf(d.sampler->products);  // of a block
  const size_t each = static_cast<size_t>(words) * sizeof(float);
  const int32_t fit = std::min(p.blocks, static_cast<int32_t>((d.device.sharedBytes - used) / each));
  if (fit == 0) return 0;
  d.sampler->residents.push_back({nullptr, p.packed, fit * words, static_cast<int32_t>(used)});
  d.sampler->residentWeights += fit * p.steps * kBlockWeights;
  char* const units = reinterpret_cast<char*>(d.sampler->tables.data()) + p.units;
  for (int number = 0; number < p.unitCount(); number++) {
    const int block = number % p.blocks;
    if (block >= fit) continue;
    Unit unit;
    std::memcpy(&unit, units + number * static_cast<int>(sizeof unit), sizeof unit);
    unit.weights = static_cast<int32_t>(used) + block * static_cast<int32_t>(each);
    unit.resident = 1;
    std::memcpy(units + number * static_cast<int>(sizeof unit), &unit, sizeof unit);
  }
  return static_cast<size_t>(fit) * each;
}

// Returns how much of shared memory is used then.
size_t placeWeights(Draft& d, size_t used) {
  for (const size_t number : byReads(d)) {
    Instruction& in = d.sampler->instructions[number];
    const bool packed = d.sampler->products != Products::fma;
    d.sampler->weights += packed ? weightsOf(in.pieces) : d.homes[number].weightFloats;
    used += packed ? placeBlocks(d, in, used) : placeWhole(d, in, d.homes[number].weightFloats, used);
  }
  return used;
}

}  // namespace

void shareOut(Draft& d) {
  if (d.sampler->products != Products::fma) spreadPixels(d);
  const size_t rooms = arrange(d.rooms), perImage = rooms + aligned(d.partialBytes);
  const size_t tables = d.sampler->tables.size() * sizeof(int16_t);
  if (perImage + tables > d.device.sharedBytes)
    refuse("an image takes " + std::to_string(perImage + tables) + " bytes of shared memory, and a block has " +
           std::to_string(d.device.sharedBytes));
  if (d.sampler->products != Products::fma && d.sampler->images > d.device.multiprocessors &&
      2 * perImage + tables <= d.device.sharedBytes / 2)
    d.sampler->together = 2;
  const size_t used = static_cast<size_t>(d.sampler->together) * perImage + tables;
  d.sampler->partials = static_cast<int>(rooms);
  d.sampler->perImage = static_cast<int>(perImage);
  d.sampler->tablesShared = static_cast<int>(used - tables);
  for (size_t i = 0; i < d.sampler->instructions.size(); i++) {
    Instruction& in = d.sampler->instructions[i];
    forEachView(d, i, [&](View& view, int home) { settle(d, view, home); });
    in.perPixel = Divider(std::max(1, in.size[2]));
    in.perRow = Divider(std::max(1, in.size[1]));
    in.weights.perChannel = Divider(std::max(1, in.weights.channels));
  }
  fillRegisters(*d.sampler);
  d.sampler->sharedBytes = std::max<size_t>(placeWeights(d, used), 16);
  for (Instruction& in : d.sampler->instructions)
    for (int32_t* const table : {&in.pieces.positions, &in.pieces.units, &in.pieces.finishes}) *table += d.sampler->tablesShared;
}

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
