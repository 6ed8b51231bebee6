// The units, groups of pixels and tables of the persistent sampler's products.
#include "pieces.h"

#include <algorithm>
#include <utility>

namespace langevin {
namespace cuda {
namespace persistent {

namespace {

// Where a transposed product has a stride, neighbours meet different taps: those that meet the same ones come together.
std::vector<std::pair<int, int>> orderedPixels(const Instruction& in) {
  std::vector<std::pair<int, int>> pixels;
  for (int row = 0; row < in.size[0]; row++)
    for (int column = 0; column < in.size[1]; column++) pixels.push_back({row, column});
  const Window& w = in.window;
  if (w.transposed)
    std::stable_sort(pixels.begin(), pixels.end(), [&](const auto& a, const auto& b) {
      return std::make_pair(a.first % w.stride[0], a.second % w.stride[1]) <
             std::make_pair(b.first % w.stride[0], b.second % w.stride[1]);
    });
  return pixels;
}

int sourcePixel(const Window& w, int row, int column, int tap) {
  if (row < 0) return -1;
  const int y = sourceOf(w, 0, row, tap / w.kernel[1]), x = sourceOf(w, 1, column, tap % w.kernel[1]);
  return y < 0 || x < 0 ? -1 : y * w.source[1] + x;
}

Groups groupPixels(const Instruction& in, int tiles) {
  Groups groups;
  groups.tiles = tiles;
  const size_t each = static_cast<size_t>(tiles) * kColumns;
  std::vector<std::pair<int, int>> pixels = orderedPixels(in);
  while (pixels.size() % each != 0) pixels.push_back({-1, -1});
  for (const auto& [row, column] : pixels) groups.positions.push_back(static_cast<int16_t>(row < 0 ? -1 : row * 256 + column));
  for (size_t first = 0; first < pixels.size(); first += each) {
    groups.meetings.emplace_back();
    for (int tap = 0; tap < in.pieces.taps; tap++) {
      std::vector<int16_t> meeting = {static_cast<int16_t>(tap)};
      bool any = in.pieces.chunks == 0;  // steps that go on from tap to tap leave none out
      for (size_t i = first; i < first + each; i++) {
        const int at = sourcePixel(in.window, pixels[i].first, pixels[i].second, tap);
        meeting.push_back(static_cast<int16_t>(at));
        any = any || at >= 0;
      }
      if (any) groups.meetings.back().insert(groups.meetings.back().end(), meeting.begin(), meeting.end());
    }
  }
  return groups;
}

}  // namespace

Groups groupPixels(const Instruction& in) {
  Groups one = groupPixels(in, 1), two = groupPixels(in, 2);
  return two.cost() < one.cost() ? two : one;
}

// The units of a block's parts come one after the other, so that warps share in what they read at the same time.
std::vector<Unit> unitsOf(const Pieces& p, const Groups& groups, Products products) {
  std::vector<Unit> units;
  for (int part = 0; part < p.parts; part++) {
    size_t word = groups.positions.size();
    for (int group = 0; group < p.groups; group++) {
      const int steps = groups.stepsOf(p, static_cast<size_t>(group));
      const int begin = part * steps / p.parts, count = (part + 1) * steps / p.parts - begin;
      const int meeting = p.chunks > 0 ? begin / p.chunks : 0;
      for (int block = 0; block < p.blocks; block++) {
        Unit unit{};
        unit.weights = p.packed + block * p.steps * wordsOf(products);
        unit.meeting = static_cast<int32_t>(word + static_cast<size_t>(meeting) * groups.wordsEach());
        unit.at = static_cast<int16_t>(begin - meeting * p.chunks);
        unit.count = static_cast<int16_t>(count);
        unit.sums = static_cast<int16_t>(part * p.perPart + (block * p.groups + group) * p.tiles);
        units.push_back(unit);
      }
      word += groups.meetings[static_cast<size_t>(group)].size();
    }
  }
  return units;
}

// Sums that have no parts are finished by the warps that added them up; no barrier is needed then.
std::vector<Finish> finishesOf(Pieces& p) {
  std::vector<Finish> finishes;
  const int inARow = p.parts == 1 ? p.tiles : 1;
  p.turns = (p.perPart / inARow + kWarps - 1) / kWarps * inARow;
  for (int turn = 0; turn < p.turns; turn++)
    for (int warp = 0; warp < kWarps; warp++) {
      // In the order of units: block within group.
      const int number = turn / inARow * kWarps + warp, block = number % p.blocks;
      const int tile = number / p.blocks * inARow + turn % inARow;
      const bool any = number < p.perPart / inARow;
      finishes.push_back({static_cast<int16_t>(any ? block : -1), static_cast<int16_t>(tile),
                          static_cast<int16_t>(block * p.groups * p.tiles + tile), 0});
    }
  return finishes;
}

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
