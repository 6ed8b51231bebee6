// Element-wise instructions become parts of the product or groupNorm before them.
#include <algorithm>
#include <utility>

#include "../../core/early_write.h"
#include "draft.h"

namespace langevin {
namespace cuda {
namespace persistent {

namespace {

bool same(const View& a, const View& b) {
  return a.device == b.device && a.shared == b.shared && a.image == b.image && std::equal(a.stride, a.stride + kAxes, b.stride);
}

// The number of the input that is the product's result; -1: none, or both.
int inputFrom(const Instruction& product, const Homes& home, const Instruction& next, const Homes& nextHomes) {
  int found = -1;
  for (int k = 0; k < next.inputCount; k++) {
    if (nextHomes.inputs[k] != home.result || !same(next.inputs[k], product.result)) continue;
    if (found >= 0) return -1;
    found = k;
  }
  return found;
}

// Whether the result of `next` may be written while the product and its tails still read.
bool mayWriteEarly(const Draft& d, const Instruction& product, const Homes& home, const Instruction& next, const Homes& nextHomes) {
  const int room = nextHomes.result;
  // Outside of rooms, addresses tell; rooms of one time lie apart.
  if (room < 0) {
    const size_t first = static_cast<size_t>(home.position), last = static_cast<size_t>(nextHomes.position);
    const Operand& result = d.program.batch->steps[last].command.output;
    const auto isRead = [&](const Operand& factor) { return factor.present() && overlap(factor, result); };
    return std::none_of(home.factors, home.factors + 2, isRead) && langevin::mayWriteEarly(*d.program.batch, first, last);
  }
  const auto apart = [&](int other, const View& view) { return other != room || same(view, next.result); };
  for (int k = 0; k < product.inputCount; k++)
    if (home.inputs[k] == room) return false;
  for (int k = 0; k < product.tailCount; k++)
    if (!apart(home.tails[k], product.tails[k].other)) return false;
  for (int k = 0; k < next.inputCount; k++)
    if (!apart(nextHomes.inputs[k], next.inputs[k])) return false;
  return true;
}

bool joins(const Draft& d, const Instruction& product, const Homes& home, const Instruction& next, const Homes& nextHomes) {
  const bool elementwise =
      next.operation >= Operation::relu && next.operation <= Operation::div && next.operation != Operation::toFloat;
  const bool hasTails = product.operation == Operation::product || product.operation == Operation::groupNorm;
  if (!hasTails || product.tailCount == kMostTails) return false;
  if (!elementwise || home.result < 0) return false;
  if (!std::equal(product.size, product.size + kAxes, next.size)) return false;
  if (inputFrom(product, home, next, nextHomes) < 0) return false;
  if (!mayWriteEarly(d, product, home, next, nextHomes)) return false;
  const bool inPlace = nextHomes.result == home.result && same(next.result, product.result);
  return inPlace || d.rooms[static_cast<size_t>(home.result)].memory.end <= nextHomes.position;
}

void join(Draft& d, Instruction& product, Homes& home, const Instruction& next, const Homes& nextHomes) {
  const int from = inputFrom(product, home, next, nextHomes);
  Tail& tail = product.tails[product.tailCount];
  tail.operation = next.operation;
  if (next.inputCount > 1) {
    tail.other = next.inputs[1 - from];
    tail.reversed = from == 1;
    home.tails[product.tailCount] = nextHomes.inputs[1 - from];
  }
  product.tailCount++;
  product.result = next.result;
  home.result = nextHomes.result;
  if (home.result < 0) return;
  // It is written while what the product and its tails read is still needed.
  Program::Temporary& memory = d.rooms[static_cast<size_t>(home.result)].memory;
  memory.start = std::min(memory.start, home.position);
}

}  // namespace

void joinTails(Draft& d) {
  std::vector<Instruction> kept;
  std::vector<Homes> keptHomes;
  for (size_t i = 0; i < d.sampler->instructions.size(); i++) {
    const Instruction& next = d.sampler->instructions[i];
    if (!kept.empty() && joins(d, kept.back(), keptHomes.back(), next, d.homes[i])) {
      join(d, kept.back(), keptHomes.back(), next, d.homes[i]);
      continue;
    }
    kept.push_back(next);
    keptHomes.push_back(d.homes[i]);
  }
  d.sampler->instructions = std::move(kept);
  d.homes = std::move(keptHomes);
}

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
