// attention and attentionGradient: softmax(scale q k^T + mask) v for each head, without ever holding all of its weights.
//
// Forward, queries come in tiles and so do keys; the largest score and the sums of a row are carried from one tile of keys
// to the next (FlashAttention, Dao et al. 2022, algorithm 1). Backward, the weights of a tile of queries are computed again
// for all keys. Every sum runs over keys, or over queries, in ascending order from shapes alone.
#include "iterate.h"
#include "strip.h"
#include "tile_product.h"
#include "transcendental.h"

namespace langevin {
namespace LANGEVIN_ISA {

namespace {

constexpr int64_t kTileQueries = 48;
constexpr int64_t kTileKeys = 256;
// A gap between rows of scores: rows a power of two apart compete for the same few cache lines.
constexpr int64_t kGap = 16;

// Operands of one head lie in `width` adjacent channels.
struct Attention {
  int64_t batch, heads, queries, keys;
  int64_t depth, width;  // channels of a head in q and k, and in v
  float scale;
  bool causal;
  Operand mask;  // or absent
  int64_t maskStrides[kMaxRank];

  // Keys that the queries before `end` may look at.
  LANGEVIN_INLINE int64_t keysBefore(int64_t end) const { return causal ? least(keys, end) : keys; }
};

bool expectOperands(const Command& command, int maskIndex, Context& context) {
  bool good = command.output.dtype == DType::f32;
  for (int i = 0; i < maskIndex; i++) good = good && command.inputs[i].dtype == DType::f32;
  good = good && (!command.has(maskIndex) || isWord(command.inputs[maskIndex].dtype));
  if (!good) context.fail("expected float32 operands and a float32 or int32 mask");
  return good;
}

Attention readAttention(Command& command, int maskIndex) {
  const Operand &q = command.inputs[0], &k = command.inputs[1], &v = command.inputs[2];
  Attention a;
  a.heads = command.attributes.i();
  a.scale = static_cast<float>(command.attributes.f());
  a.causal = command.attributes.b();
  a.batch = q.dim(0), a.queries = q.dim(1), a.keys = k.dim(1);
  a.depth = q.dim(2) / a.heads, a.width = v.dim(2) / a.heads;
  if (command.has(maskIndex)) {
    a.mask = command.inputs[maskIndex];
    broadcastStrides(a.mask, 4, a.maskStrides);
  }
  return a;
}

// The rows of head `index` (of all heads of the batch) in an operand [batch, length, heads * width].
ConstRows headOf(const Attention& a, const Operand& x, int64_t index, int64_t width) {
  return {x.as<const float>() + index / a.heads * x.dim(1) * x.pitch + index % a.heads * width, x.pitch};
}
Rows headOf(const Attention& a, float* x, int64_t length, int64_t index, int64_t width) {
  const int64_t pitch = a.heads * width;
  return {x + index / a.heads * length * pitch + index % a.heads * width, pitch};
}

// What the mask says to one query, from some key on.
struct MaskRow {
  const float* added = nullptr;       // to the score
  const int32_t* allowed = nullptr;   // 0: may not look
  int64_t step = 0;                   // 0: one value for all keys
};

MaskRow maskRow(const Attention& a, int64_t head, int64_t query, int64_t key) {
  MaskRow row;
  if (!a.mask.present()) return row;
  const int64_t* const s = a.maskStrides;
  const int64_t at = head / a.heads * s[0] + head % a.heads * s[1] + query * s[2] + key * s[3];
  row.step = s[3];
  if (a.mask.dtype == DType::f32) row.added = a.mask.as<const float>() + at;
  else row.allowed = a.mask.as<const int32_t>() + at;
  return row;
}

// Lanes i, i + 1, ... of a row of the mask.
LANGEVIN_SIMD V maskLanes(const float* mask, int64_t step, int64_t i, int64_t lanes) {
  return step == 0 ? broadcast(*mask) : loadLanes(mask + i, lanes);
}
LANGEVIN_SIMD VI maskLanes(const int32_t* mask, int64_t step, int64_t i, int64_t lanes) {
  if (step == 0) return broadcastInt(*mask);
  return lanes == kWidth ? loadInt(mask + i) : loadPartialInt(mask + i, lanes);
}

LANGEVIN_SIMD float largestLane(V v) {
  float lane[kWidth];
  __builtin_memcpy(lane, &v, sizeof v);
  for (int half = kWidth / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  return lane[0];
}

// Scales and masks n products in place, those from `visible` on being out of sight; returns the largest score.
float maskScores(float* scores, int64_t n, int64_t visible, float scale, const MaskRow& mask) {
  const V hidden = broadcast(-__builtin_inff());
  V largest = hidden;
  forEachVector(n, [&](int64_t i, int64_t lanes) {
    const int64_t seen = most(0, least(lanes, visible - i));
    V x = load(scores + i) * scale;
    if (mask.added) x = x + maskLanes(mask.added, mask.step, i, lanes);
    if (mask.allowed) x = select((VI)(maskLanes(mask.allowed, mask.step, i, lanes) != zeroInt()), x, hidden);
    if (seen < kWidth) x = select((VI)(laneIndex() < broadcastInt(static_cast<int32_t>(seen))), x, hidden);
    largest = maximum(largest, x);
    store(scores + i, x);
  });
  return largestLane(largest);
}

// Turns n scores into e^(score - largest) and returns their sum. Where nothing is in sight, the weights are 0.
float weigh(float* scores, int64_t n, float largest) {
  const V reference = broadcast(largest == -__builtin_inff() ? 0.0f : largest);
  V total = zero();
  forEachVector(n, [&](int64_t i, int64_t) {
    const V weight = exponential(load(scores + i) - reference);
    total += weight;
    store(scores + i, weight);
  });
  return sumLanes(total);
}

// e^(before - now) where rows looked at nothing before, or still do.
float shrinkage(float before, float now) {
  return before == -__builtin_inff() ? 0.0f : exponential(broadcast(before - now))[0];
}

void scaleRow(float* y, int64_t n, float factor) {
  forEachVector(n, [=](int64_t i, int64_t lanes) { storeLanes(y + i, loadLanes(y + i, lanes) * factor, lanes); });
}

void clearRows(const Rows& y, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++) __builtin_memset(y.data + r * y.pitch, 0, columns * sizeof(float));
}

// Queries [begin, end) of one head.
void attend(const Attention& a, int64_t head, int64_t begin, int64_t end, const ConstRows& q, const Panels& keys,
            const Panels& values, const Rows& y) {
  constexpr int64_t pitch = kTileKeys + kGap;
  float scores[kTileQueries * pitch];
  float largest[kTileQueries], total[kTileQueries];
  const int64_t rows = end - begin, count = a.keysBefore(end);
  for (int64_t r = 0; r < rows; r++) largest[r] = -__builtin_inff(), total[r] = 0;
  const Rows target = {y.data + begin * y.pitch, y.pitch};
  clearRows(target, rows, a.width);
  for (int64_t key = 0; key < count; key += kTileKeys) {
    const int64_t n = least(kTileKeys, count - key);
    multiply({q.data + begin * q.pitch, q.pitch, 1}, keys.fromColumn(key), a.depth, {scores, pitch}, rows, n);
    for (int64_t r = 0; r < rows; r++) {
      float* const row = scores + r * pitch;
      const int64_t visible = a.causal ? begin + r + 1 - key : n;
      const float before = largest[r];
      const float found = maskScores(row, n, visible, a.scale, maskRow(a, head, begin + r, key));
      largest[r] = found > before ? found : before;
      const float sum = weigh(row, n, largest[r]), shrunk = shrinkage(before, largest[r]);
      total[r] = total[r] * shrunk + sum;
      if (key > 0 && shrunk != 1) scaleRow(target.data + r * y.pitch, a.width, shrunk);
    }
    multiplyAdd({scores, pitch, 1}, values.fromTerm(key), n, target, rows, a.width);
  }
  for (int64_t r = 0; r < rows; r++) {
    const V divisor = broadcast(total[r]);
    float* const row = target.data + r * y.pitch;
    if (total[r] == 0) continue;
    forEachVector(a.width, [=](int64_t i, int64_t lanes) {
      storeLanes(row + i, loadLanes(row + i, lanes) / divisor, lanes);
    });
  }
}

constexpr int64_t kPackedFloats = 1 << 24;  // 64 MiB: heads whose copies fit are worked on together,
constexpr int64_t kLeastHeads = 16;         // and at least so many, so that threads have something to do

int64_t headsAtOnce(int64_t heads, int64_t floatsEach) {
  return least(heads, most(kLeastHeads, kPackedFloats / most(1, floatsEach)));
}

void attention(Command& command, Context& context) {
  if (!expectOperands(command, 3, context)) return;
  const Operand &q = command.inputs[0], &k = command.inputs[1], &v = command.inputs[2], &y = command.output;
  if (y.size() == 0) return;
  const Attention a = readAttention(command, 3);
  const int64_t heads = a.batch * a.heads, tiles = ceilDivide(a.queries, kTileQueries);
  const int64_t keyFloats = panelFloats(a.depth, a.keys), valueFloats = panelFloats(a.keys, a.width);
  const int64_t atOnce = headsAtOnce(heads, keyFloats + valueFloats);
  float* const packed = context.scratch(most(1, atOnce * (keyFloats + valueFloats)));
  const auto keysOf = [=](int64_t slot) { return packed + slot * (keyFloats + valueFloats); };
  const auto valuesOf = [=](int64_t slot) { return keysOf(slot) + keyFloats; };
  for (int64_t first = 0; first < heads; first += atOnce) {
    const int64_t count = least(atOnce, heads - first);
    context.parallelFor(count, [&](int64_t slot) {
      packTransposedPanels(headOf(a, k, first + slot, a.depth), a.depth, a.keys, keysOf(slot));
      packPanels(headOf(a, v, first + slot, a.width), a.keys, a.width, valuesOf(slot));
    });
    context.parallelFor(count * tiles, [&](int64_t item) {
      const int64_t slot = item / tiles, tile = item % tiles, head = first + slot;
      const ConstRows target = headOf(a, y, head, a.width);
      attend(a, head, a.queries * tile / tiles, a.queries * (tile + 1) / tiles, headOf(a, q, head, a.depth),
             {keysOf(slot), a.depth}, {valuesOf(slot), a.keys}, {const_cast<float*>(target.data), target.pitch});
    });
  }
}

// ---- gradient --------------------------------------------------------------------------------------------------------

// One head's operands, packed for the five products of its gradient.
struct HeadPanels {
  Panels keysT, valuesT, keys, queries, gradients;
};

// Where one head's gradients go: those of the keys and values are added up over tiles of queries.
struct HeadGradients {
  Rows q, k, v;
};

// Turns n scores into weights that sum to 1, and products dy v into gradients of the products q k.
void weighRow(float* weights, float* gradients, int64_t n, float largest, float scale) {
  float total = 0;
  for (int64_t i = 0; i < n; i += kTileKeys) total += weigh(weights + i, least(kTileKeys, n - i), largest);
  const V divisor = broadcast(total == 0 ? 1.0f : total);
  V along = zero();
  forEachVector(n, [&](int64_t i, int64_t lanes) {
    const V weight = load(weights + i) / divisor;
    along = fma(weight, loadLanes(gradients + i, lanes), along);
    store(weights + i, weight);
  });
  const V mean = broadcast(sumLanes(along));
  forEachVector(n, [&](int64_t i, int64_t lanes) {
    storeLanes(gradients + i, load(weights + i) * (loadLanes(gradients + i, lanes) - mean) * scale, lanes);
  });
}

// Queries [begin, end) of one head; `scores` has room for two tiles of kTileQueries rows over all keys.
void attendBack(const Attention& a, int64_t head, int64_t begin, int64_t end, const ConstRows& q, const ConstRows& dy,
                const HeadPanels& x, const HeadGradients& d, float* scores, int64_t pitch) {
  const int64_t rows = end - begin, n = a.keysBefore(end);
  float *const weights = scores, *const gradients = scores + kTileQueries * pitch;
  multiply({q.data + begin * q.pitch, q.pitch, 1}, x.keysT, a.depth, {weights, pitch}, rows, n);
  multiply({dy.data + begin * dy.pitch, dy.pitch, 1}, x.valuesT, a.width, {gradients, pitch}, rows, n);
  for (int64_t r = 0; r < rows; r++) {
    float* const row = weights + r * pitch;
    const int64_t visible = a.causal ? begin + r + 1 : n;
    const float largest = maskScores(row, n, visible, a.scale, maskRow(a, head, begin + r, 0));
    weighRow(row, gradients + r * pitch, n, largest, a.scale);
  }
  multiply({gradients, pitch, 1}, x.keys, n, {d.q.data + begin * d.q.pitch, d.q.pitch}, rows, a.depth);
  multiplyAdd({gradients, 1, pitch}, x.queries.fromTerm(begin), rows, d.k, n, a.depth);
  multiplyAdd({weights, 1, pitch}, x.gradients.fromTerm(begin), rows, d.v, n, a.width);
}

// Groups of tiles of queries that add up their own gradients of keys and values, so that few heads keep many threads busy.
// By shape alone: the sums' bits depend on it.
constexpr int64_t kGroupQueries = 128, kMostGroups = 4;

// Where the parts of one head's scratch memory begin.
struct HeadScratch {
  int64_t keysT, valuesT, keys, queries, gradients;  // panels
  int64_t groups, groupSize;                         // of each group: scores, and gradients of keys and of values
  int64_t size;
};

HeadScratch layOut(const Attention& a, int64_t groups, int64_t pitch) {
  HeadScratch s;
  s.keysT = 0;
  s.valuesT = s.keysT + panelFloats(a.depth, a.keys);
  s.keys = s.valuesT + panelFloats(a.width, a.keys);
  s.queries = s.keys + panelFloats(a.keys, a.depth);
  s.gradients = s.queries + panelFloats(a.queries, a.depth);
  s.groups = s.gradients + panelFloats(a.queries, a.width);
  s.groupSize = 2 * kTileQueries * pitch + (groups > 1 ? a.keys * (a.depth + a.width) : 0);
  s.size = s.groups + groups * s.groupSize;
  return s;
}

void addRows(const Rows& y, const float* x, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++) {
    float* const to = y.data + r * y.pitch;
    const float* const from = x + r * columns;
    forEachVector(columns, [=](int64_t i, int64_t lanes) {
      storeLanes(to + i, loadLanes(to + i, lanes) + loadLanes(from + i, lanes), lanes);
    });
  }
}

void attentionGradient(Command& command, Context& context) {
  if (!expectOperands(command, 4, context)) return;
  const Operand &q = command.inputs[0], &k = command.inputs[1], &v = command.inputs[2], &dy = command.inputs[3];
  const Attention a = readAttention(command, 4);
  const int64_t heads = a.batch * a.heads, tiles = ceilDivide(a.queries, kTileQueries);
  const int64_t groups = most(1, least(kMostGroups, a.queries / kGroupQueries));
  float* const dq = command.output.as<float>();
  float* const dk = dq + q.size();
  float* const dv = dk + k.size();

  const int64_t pitch = ceilDivide(a.keys, kWidth) * kWidth + kGap;
  const HeadScratch s = layOut(a, groups, pitch);
  const int64_t atOnce = headsAtOnce(heads, s.size);
  float* const scratch = context.scratch(most(1, atOnce * s.size));
  const auto scoresOf = [=](int64_t slot, int64_t group) { return scratch + slot * s.size + s.groups + group * s.groupSize; };
  const auto partialOf = [=](int64_t slot, int64_t group) { return scoresOf(slot, group) + 2 * kTileQueries * pitch; };
  for (int64_t first = 0; first < heads; first += atOnce) {
    const int64_t count = least(atOnce, heads - first);
    context.parallelFor(count, [&](int64_t slot) {
      const int64_t head = first + slot;
      float* const own = scratch + slot * s.size;
      packTransposedPanels(headOf(a, k, head, a.depth), a.depth, a.keys, own + s.keysT);
      packTransposedPanels(headOf(a, v, head, a.width), a.width, a.keys, own + s.valuesT);
      packPanels(headOf(a, k, head, a.depth), a.keys, a.depth, own + s.keys);
      packPanels(headOf(a, q, head, a.depth), a.queries, a.depth, own + s.queries);
      packPanels(headOf(a, dy, head, a.width), a.queries, a.width, own + s.gradients);
    });
    context.parallelFor(count * groups, [&](int64_t item) {
      const int64_t slot = item / groups, group = item % groups, head = first + slot;
      const float* const own = scratch + slot * s.size;
      float* const partial = partialOf(slot, group);
      const HeadPanels x = {{own + s.keysT, a.depth},
                            {own + s.valuesT, a.width},
                            {own + s.keys, a.keys},
                            {own + s.queries, a.queries},
                            {own + s.gradients, a.queries}};
      // The first group adds to the output itself.
      const Rows sumsK = group == 0 ? headOf(a, dk, a.keys, head, a.depth) : Rows{partial, a.depth};
      const Rows sumsV = group == 0 ? headOf(a, dv, a.keys, head, a.width) : Rows{partial + a.keys * a.depth, a.width};
      const HeadGradients d = {headOf(a, dq, a.queries, head, a.depth), sumsK, sumsV};
      clearRows(d.k, a.keys, a.depth);
      clearRows(d.v, a.keys, a.width);
      for (int64_t tile = tiles * group / groups; tile < tiles * (group + 1) / groups; tile++)
        attendBack(a, head, a.queries * tile / tiles, a.queries * (tile + 1) / tiles, headOf(a, q, head, a.depth),
                   headOf(a, dy, head, a.width), x, d, scoresOf(slot, group), pitch);
    });
    if (groups == 1) continue;
    context.parallelFor(count, [&](int64_t slot) {
      for (int64_t group = 1; group < groups; group++) {
        const float* const partial = partialOf(slot, group);
        addRows(headOf(a, dk, a.keys, first + slot, a.depth), partial, a.keys, a.depth);
        addRows(headOf(a, dv, a.keys, first + slot, a.width), partial + a.keys * a.depth, a.keys, a.width);
      }
    });
  }
}

}  // namespace

LANGEVIN_KERNEL("attention", "heads:int,scale:float,causal:bool", attention)
LANGEVIN_KERNEL("attentionGradient", "heads:int,scale:float,causal:bool", attentionGradient)

}  // namespace LANGEVIN_ISA
}  // namespace langevin
