// Which cores multiply, and how products are divided among threads or warps.
#include <algorithm>
#include <cstring>
#include <map>

#include "../../core/extent.h"
#include "draft.h"
#include "pieces.h"

namespace langevin {
namespace cuda {
namespace persistent {

namespace {

constexpr int kLeastChannels = 2;  // of the part of a product that a thread adds up by fma
// Tables of products count in int16.
constexpr int kMostRows = 128, kMostColumns = 256, kMostEntries = 32767;

// Whether its weights can be packed and its pixels counted.
bool fitsTensorCores(const Draft& d, size_t product) {
  const Instruction& in = d.sampler->instructions[product];
  const View& x = in.inputs[0];
  const Window& w = in.window;
  const int64_t pixels = int64_t{in.size[0]} * in.size[1], taps = int64_t{w.kernel[0]} * w.kernel[1];
  return in.inputs[1].device != nullptr && !isWritten(d, product) && in.size[0] <= kMostRows && in.size[1] <= kMostColumns &&
         (w.source[0] == 1 || x.stride[0] == w.source[1] * x.stride[1]) &&
         int64_t{w.source[0]} * w.source[1] <= kMostEntries && (pixels + kColumns) * taps <= kMostEntries &&
         taps * ((in.weights.channels + kBlock - 1) / kBlock) <= kMostEntries;
}

// All products do, or none.
bool usesTensorCores(const Draft& d) {
  if (d.device.products == Products::fma) return false;
  for (size_t i = 0; i < d.sampler->instructions.size(); i++)
    if (d.sampler->instructions[i].operation == Operation::product && !fitsTensorCores(d, i)) return false;
  return true;
}

// By fma, threads add up parts of the source channels, `adjacent` ones at a time.
void divideProducts(Draft& d) {
  for (Instruction& in : d.sampler->instructions) {
    if (in.operation != Operation::product) continue;
    Weights& w = in.weights;
    const int tiles = ((in.size[0] * in.size[1] + kTile - 1) / kTile) * ((in.size[2] + kTile - 1) / kTile);
    const int most = std::max(1, w.channels / std::max(w.adjacent, kLeastChannels));
    w.parts = std::max(1, std::min(kThreads / std::max(tiles, 1), most));
  }
}

// The tables of all products, one after the other.
struct Tables {
  Sampler& sampler;
  std::map<std::vector<int16_t>, int32_t> known;  // where each begins

  // Where this table begins, in bytes; products of the same shape share one.
  int32_t intern(const std::vector<int16_t>& words) {
    const auto found = known.find(words);
    return found != known.end() ? found->second : known[words] = append(words);
  }

  template <class Entry>
  int32_t append(const std::vector<Entry>& entries) {
    std::vector<int16_t>& tables = sampler.tables;
    const size_t at = tables.size(), bytes = entries.size() * sizeof(Entry);
    tables.resize(at + aligned(bytes) / sizeof(int16_t), 0);
    std::memcpy(tables.data() + at, entries.data(), bytes);
    return count(static_cast<int64_t>(at * sizeof(int16_t)));
  }
};

// By shape alone, so that sums depend on nothing else.
void cut(Draft& d, Tables& tables, size_t product) {
  Instruction& in = d.sampler->instructions[product];
  const Weights& w = in.weights;
  Pieces& p = in.pieces;
  p.taps = in.window.kernel[0] * in.window.kernel[1];
  p.chunks = w.channels % kBlock == 0 ? w.channels / kBlock : 0;
  p.steps = p.chunks > 0 ? p.taps * p.chunks : (p.taps * w.channels + kBlock - 1) / kBlock;
  p.blocks = (in.size[2] + kBlock - 1) / kBlock;
  const View& x = in.inputs[0];
  p.vectors = d.homes[product].sourceInFours && (x.shared < 0 || x.shared % 16 == 0) && x.image % kTile == 0;
  const Groups groups = groupPixels(in);
  p.tiles = groups.tiles;
  p.groups = static_cast<int32_t>(groups.meetings.size());
  int32_t fewest = p.steps;
  for (size_t group = 0; group < groups.meetings.size(); group++) fewest = std::min(fewest, groups.stepsOf(p, group));
  p.parts = std::max(1, std::min(kWarps / (p.blocks * p.groups), fewest));
  p.perPart = p.blocks * p.groups * p.tiles;
  if (int64_t{p.perPart} * p.parts > kMostEntries) refuse("a product is too large");
  p.positions = tables.intern(groups.words());
  p.packed = count(d.sampler->packedWords);
  d.sampler->packings.push_back({static_cast<const float*>(in.inputs[1].device), p.taps, w.channels, in.size[2], w.perTap,
                                w.perSource, w.perOutput, p.steps, p.blocks, p.packed});
  d.sampler->packedWords += int64_t{p.blocks} * p.steps * wordsOf(d.sampler->products);
  count(d.sampler->packedWords);
  p.units = tables.append(unitsOf(p, groups, d.sampler->products));
  p.finishes = tables.append(finishesOf(p));
}

void cutForTensorCores(Draft& d) {
  Tables tables{*d.sampler, {}};
  d.sampler->products = d.device.products;
  for (size_t i = 0; i < d.sampler->instructions.size(); i++)
    if (d.sampler->instructions[i].operation == Operation::product) cut(d, tables, i);
}

}  // namespace

bool isWritten(const Draft& d, size_t product) {
  const char* const from = static_cast<const char*>(d.sampler->instructions[product].inputs[1].device);
  const char* const end = from + d.homes[product].weightFloats * static_cast<int64_t>(sizeof(float));
  return std::any_of(d.written.begin(), d.written.end(), [&](const Use& use) {
    return addressOf(use.operand) < end && from < addressOf(use.operand) + extentOf(use.operand);
  });
}

void cutProducts(Draft& d) {
  if (usesTensorCores(d)) cutForTensorCores(d);
  else divideProducts(d);
}

}  // namespace persistent
}  // namespace cuda
}  // namespace langevin
