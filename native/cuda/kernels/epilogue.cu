// Which commands become a part of the product before them (epilogue.cuh).
#include "epilogue.cuh"

#include <optional>

#include "../../core/extent.h"
#include "operands.cuh"

namespace langevin {
namespace cuda {
namespace {

// A second operand that is the same for blocks of rows of the result: [N, H, W, C] beside itself, [N, 1, 1, C] or [C].
std::optional<Tail> withOther(Tail::Kind kind, const Operand& other, const Operand& result) {
  if (result.rank == 0 || other.rank == 0 || other.cols() != result.cols()) return std::nullopt;
  const int missing = result.rank - other.rank;
  int64_t rows = 1;
  bool inBlock = true;
  for (int axis = result.rank - 2; axis >= 0; axis--) {
    const int64_t size = axis < missing ? 1 : other.shape[axis - missing];
    inBlock = inBlock && size == 1;
    if (inBlock) rows *= result.shape[axis];
    else if (size != result.shape[axis]) return std::nullopt;
  }
  const float* const data = other.as<const float>();
  return Tail{kind, data, other.pitch, areVectors(data, other.pitch), Divider(countOf(rows, "rows"))};
}

std::optional<Tail> tailOf(const Follower& follower, const Operand& result) {
  const std::string& op = follower.op;
  if (follower.resultNeeded) return std::nullopt;
  if (op == "relu") return Tail{Tail::Kind::relu, nullptr, 0, false, Divider(1)};
  if (op == "silu") return Tail{Tail::Kind::silu, nullptr, 0, false, Divider(1)};
  if (op == "add") return withOther(Tail::Kind::add, follower.command.inputs[1 - follower.input], result);
  const bool ofGradient = follower.input == 1;  // the first operand is what the activation was given, or gave
  if (op == "reluGradient" && ofGradient) return withOther(Tail::Kind::reluGradient, follower.command.inputs[0], result);
  if (op == "siluGradient" && ofGradient) return withOther(Tail::Kind::siluGradient, follower.command.inputs[0], result);
  return std::nullopt;
}

void setTarget(Epilogue& e, const Target& target) {
  e.y = target;
  e.vectors = areVectors(target.whole.data, target.whole.pitch);
}

}  // namespace

Epilogue plainEpilogue(void* sums, int columns) {
  Epilogue e{};
  setTarget(e, {{static_cast<float*>(sums), columns}, {}});
  return e;
}

Epilogue epilogueOf(const Operand& y, const Operand* bias, Launch& launch) {
  Epilogue e{};
  e.bias = bias == nullptr ? nullptr : bias->as<const float>();
  countOf(y.rows(), "rows");
  const Operand* result = &y;
  while (e.tailCount < kMostTails) {
    const Follower* const follower = launch.follower(*result);
    if (follower == nullptr || !haveSameShape(follower->command.output, y)) break;
    const std::optional<Tail> tail = tailOf(*follower, y);
    if (!tail) break;
    e.tails[e.tailCount++] = *tail;
    result = &follower->command.output;
    launch.takeNext();
  }
  setTarget(e, targetOf(*result, launch));
  return e;
}

}  // namespace cuda
}  // namespace langevin
