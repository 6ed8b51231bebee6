// How the persistent sampler cuts a product into units, and the tables that say so (`Pieces`). All of it follows from the
// product's shape, so that sums depend on nothing else.
#pragma once

#include <cstdint>
#include <vector>

#include "sampler.h"

namespace langevin {
namespace cuda {
namespace persistent {

// Output pixels in groups, and what meets each group, as Pieces has it.
struct Groups {
  int tiles = 1;
  std::vector<int16_t> positions;
  std::vector<std::vector<int16_t>> meetings;  // of each group

  int32_t meetingsOf(size_t group) const { return static_cast<int32_t>(meetings[group].size() / wordsEach()); }
  int32_t stepsOf(const Pieces& p, size_t group) const { return p.chunks > 0 ? meetingsOf(group) * p.chunks : p.steps; }
  size_t wordsEach() const { return 1 + static_cast<size_t>(tiles) * kColumns; }
  // What adding them up takes, roughly: a step of two tiles takes half as much again as one of one, whose weights are the same.
  int32_t cost() const {
    int32_t all = 0;
    for (size_t group = 0; group < meetings.size(); group++) all += meetingsOf(group);
    return all * (tiles == 1 ? 2 : 3);
  }
  std::vector<int16_t> words() const {
    std::vector<int16_t> all = positions;
    for (const std::vector<int16_t>& group : meetings) all.insert(all.end(), group.begin(), group.end());
    return all;
  }
};

// In the way that takes fewer steps.
Groups groupPixels(const Instruction& in);

std::vector<Unit> unitsOf(const Pieces& p, const Groups& groups, Products products);

// Sets how many turns there are.
std::vector<Finish> finishesOf(Pieces& p);

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
