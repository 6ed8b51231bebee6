// The interpreter of element-wise commands, and their launchers: alone, they are chains of one link.
#include "chain.cuh"

#include <algorithm>

#include "../../core/extent.h"
#include "operands.cuh"
#include "rounded.cuh"

namespace langevin {
namespace cuda {
namespace {

// The four elements of a thread: row and column of the innermost axis, and how many of them there are.
struct Spot {
  int row;
  int64_t column;
  int width;
};

__device__ __forceinline__ Spot spotOf(const Chain& chain, int turn) {
  int quad;
  const int row = chain.quadsOfRow.divide(turn, quad);
  const int64_t column = int64_t{kQuad} * quad, left = chain.columns - column;
  return {row, column, left < kQuad ? static_cast<int>(left) : kQuad};
}

template <class T>
__device__ __forceinline__ T* placeAt(const Chain& chain, const Place& place, const Spot& spot) {
  const int last = chain.rank - 1;
  int64_t offset = spot.column * place.strides[last];
  int row = spot.row;
  GPU_NO_UNROLL
  for (int axis = last - 1; axis >= 0; axis--) {
    int index;
    row = chain.axes[axis].divide(row, index);
    offset += static_cast<int64_t>(index) * place.strides[axis];
  }
  return static_cast<T*>(place.data) + offset;
}

__device__ __forceinline__ void load(const Chain& chain, const Place& place, const Spot& spot, Quad& x) {
  const Word* const from = placeAt<const Word>(chain, place, spot);
  if (place.vectors && spot.width == kQuad) {
    const uint4 v = *reinterpret_cast<const uint4*>(from);
    x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
    return;
  }
  const int64_t stride = place.strides[chain.rank - 1];
  GPU_UNROLL
  for (int i = 0; i < kQuad; i++) x[i] = i < spot.width ? from[i * stride] : 0;
}

__device__ __forceinline__ void store(const Chain& chain, const Place& place, const Spot& spot, const Quad& x) {
  Word* const to = placeAt<Word>(chain, place, spot);
  if (place.vectors && spot.width == kQuad) {
    *reinterpret_cast<uint4*>(to) = uint4{x[0], x[1], x[2], x[3]};
    return;
  }
  const int64_t stride = place.strides[chain.rank - 1];
  GPU_UNROLL
  for (int i = 0; i < kQuad; i++)
    if (i < spot.width) to[i * stride] = x[i];
}

__device__ __forceinline__ void storeInBf16(const Chain& chain, const Place& place, const Spot& spot, const Quad& x) {
  gpu::Bf16* const to = placeAt<gpu::Bf16>(chain, place, spot);
  float run[kQuad];
  GPU_UNROLL
  for (int i = 0; i < kQuad; i++) run[i] = gpu::floatFromBits(x[i]);
  if (place.vectors && spot.width == kQuad) return storeRounded(to, run);
  const int64_t stride = place.strides[chain.rank - 1];
  GPU_UNROLL
  for (int i = 0; i < kQuad; i++)
    if (i < spot.width) storeRounded(to + i * stride, run[i]);
}

// Of 40 registers a thread, a multiprocessor holds so many blocks.
constexpr int kBlocksHeld = 6;

__global__ void __launch_bounds__(kThreads) runChain(const Chain chain) {
  for (int64_t turn = firstTurn(); turn < chain.quads; turn += turnStep()) {
    const Spot spot = spotOf(chain, static_cast<int>(turn));
    Quad result = {};
    GPU_NO_UNROLL
    for (int i = 0; i < chain.linkCount; i++) {
      const Link& link = chain.links[i];
      Quad x[kMostOperands];
      GPU_UNROLL
      for (int k = 0; k < kMostOperands; k++) {
        GPU_UNROLL
        for (int j = 0; j < kQuad; j++) x[k][j] = result[j];
        if (link.operands[k] >= 0) load(chain, chain.places[link.operands[k]], spot, x[k]);
      }
      applyElementOp(link.op, link.variant, link.numbers, x, result);
      if (link.output >= 0) store(chain, chain.places[link.output], spot, result);
    }
    if (chain.rounded >= 0) storeInBf16(chain, chain.places[chain.rounded], spot, result);
  }
}

// What the host knows of an op.
struct Description {
  const char* name;
  int numbers;
  int (*fitting)(const Command&);
  bool onlyFloats;
};

template <class F, class First, class... Rest>
Description describe(const char* name) {
  return {name, kNumbersOf<F>, Variants<F, First, Rest...>::fitting, sizeof...(Rest) == 0 && !std::is_same<First, Word>::value};
}

const Description& descriptionOf(ElementOp op) {
  static const Description all[] = {
#define LANGEVIN_DESCRIPTION(name, signature, ...) describe<__VA_ARGS__>(#name),
      LANGEVIN_ELEMENT_OPS(LANGEVIN_DESCRIPTION) LANGEVIN_ELEMENT_PARTS(LANGEVIN_DESCRIPTION)
#undef LANGEVIN_DESCRIPTION
  };
  return all[static_cast<int>(op)];
}

std::optional<ElementOp> opNamed(const std::string& name) {
#define LANGEVIN_NAMED(op, signature, ...) \
  if (name == #op) return ElementOp::op;
  LANGEVIN_ELEMENT_OPS(LANGEVIN_NAMED)
#undef LANGEVIN_NAMED
  return std::nullopt;
}

// An attribute in the dtype of what it is used with. int32 has bounds: whole numbers, or infinite ones.
Word numberAs(DType dtype, double number) {
  if (dtype == DType::f32) return bitsOf(static_cast<float>(number));
  return static_cast<Word>(number >= INT32_MAX ? INT32_MAX : number <= INT32_MIN ? INT32_MIN : static_cast<int32_t>(number));
}

// A kernel counts in 32 bits: distances between rows, and threads' turns.
int32_t counted(int64_t n, const char* what) {
  if (n > INT32_MAX) Launch::refuse(std::to_string(n) + " " + what + " are more than CUDA kernels count (2^31)");
  return static_cast<int32_t>(n);
}

}  // namespace

Link& ChainBuilder::next(ElementOp op) {
  Link& link = chain_.links[chain_.linkCount++];
  link = Link{op, 0, {kNowhere, kNowhere, kNowhere}, kNowhere, {}};
  return link;
}

int8_t ChainBuilder::placeOf(const Operand& operand) {
  chain_.places[placeCount_].data = operand.data;
  broadcastStrides(operand, shape_.rank, strides_[placeCount_]);
  return static_cast<int8_t>(placeCount_++);
}

void ChainBuilder::add(ElementOp op, std::initializer_list<const Operand*> operands) {
  Link& link = next(op);
  int8_t* to = link.operands;
  for (const Operand* operand : operands) *to++ = operand == nullptr ? kResultSoFar : placeOf(*operand);
}

bool ChainBuilder::add(ElementOp op, const Command& command, const Operand* soFar) {
  const Description& description = descriptionOf(op);
  const int variant = description.fitting(command);
  // Its result and the one before it may have to be stored, and the last one rounded.
  if (variant < 0 || chain_.linkCount == kMostLinks || placeCount_ + command.inputCount + 3 > kMostPlaces) return false;
  Link& link = next(op);
  link.variant = static_cast<int8_t>(variant);
  for (int k = 0; k < command.inputCount; k++) {
    const Operand& input = command.inputs[k];
    link.operands[k] = soFar != nullptr && coincide(input, *soFar) ? kResultSoFar : placeOf(input);
  }
  AttributeReader attributes = command.attributes;
  for (int k = 0; k < description.numbers; k++) link.numbers[k] = numberAs(command.output.dtype, attributes.f());
  return true;
}

void ChainBuilder::store(const Operand& to) { chain_.links[chain_.linkCount - 1].output = placeOf(to); }

void ChainBuilder::finish(const Operand& result, Launch& launch) {
  const Operand* last = &result;
  bool storesLast = true;
  while (const Follower* const follower = launch.elementFollower()) {
    if (follower->op == "roundToBf16" && follower->input == 0) {
      storesLast = follower->resultNeeded;
      chain_.rounded = placeOf(follower->command.output);
      launch.takeNext();
      break;
    }
    const std::optional<ElementOp> op = opNamed(follower->op);
    if (!op) break;
    const int stored = chain_.linkCount - 1;
    if (!add(*op, follower->command, last)) break;
    if (follower->resultNeeded) chain_.links[stored].output = placeOf(*last);
    last = &follower->command.output;
    launch.takeNext();
  }
  if (storesLast) store(*last);
  enqueue(launch);
}

void ChainBuilder::enqueue(Launch& launch) {
  int64_t shape[kMaxRank], size = shape_.size();
  if (size == 0) return;
  std::copy(shape_.shape, shape_.shape + shape_.rank, shape);
  chain_.rank = collapseAxes(shape_.rank, shape, strides_, placeCount_);
  const int last = chain_.rank - 1;
  const int64_t columns = shape[last], quadsOfRow = ceilDivide(columns, kQuad), rows = size / columns;
  chain_.columns = columns;
  chain_.quads = counted(rows * quadsOfRow, "groups of four elements");
  chain_.quadsOfRow = Divider(static_cast<int>(quadsOfRow));
  for (int axis = 0; axis < last; axis++) chain_.axes[axis] = Divider(static_cast<int>(shape[axis]));
  for (int k = 0; k < placeCount_; k++) {
    Place& place = chain_.places[k];
    const size_t quadBytes = kQuad * (k == chain_.rounded ? sizeof(gpu::Bf16) : sizeof(Word));
    place.vectors = reinterpret_cast<uintptr_t>(place.data) % quadBytes == 0 && strides_[k][last] == 1;
    for (int axis = 0; axis <= last; axis++) {
      place.strides[axis] = counted(strides_[k][axis], "elements between rows");
      if (axis < last) place.vectors = place.vectors && place.strides[axis] % kQuad == 0;
    }
  }
  GPU_LAUNCH(runChain, gridFor(launch, chain_.quads, kBlocksHeld), dim3(kThreads), launch.stream(), chain_);
}

namespace {

template <ElementOp op>
void launchElementOp(Command& command, Launch& launch) {
  ChainBuilder chain(command.output);
  if (!chain.add(op, command, nullptr))
    Launch::refuse(descriptionOf(op).onlyFloats ? "expected float32 operands" : "expected operands of one dtype, float32 or int32");
  chain.finish(command.output, launch);
}

#define LANGEVIN_REGISTRATION(name, signature, ...) \
  const Registration name##Registration(#name, signature, launchElementOp<ElementOp::name>);
LANGEVIN_ELEMENT_OPS(LANGEVIN_REGISTRATION)
#undef LANGEVIN_REGISTRATION

}  // namespace

}  // namespace cuda
}  // namespace langevin
