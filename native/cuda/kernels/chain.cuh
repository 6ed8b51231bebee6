// Element-wise commands that one kernel does one after the other: a thread keeps its elements in registers from link to link.
//
// Each thread does for its own elements, in order, what the commands would do one by one; so it reads back what it has itself
// written. Results of which only the next link has need are never written.
#pragma once

#include <initializer_list>

#include "../divider.h"
#include "element_ops.cuh"

namespace langevin {
namespace cuda {

// An array beside the result. Strides of elements, 0 where it is repeated.
struct Place {
  void* data;
  int32_t strides[kMaxRank];
  bool vectors;  // each four neighbours are together and aligned
};

constexpr int8_t kNowhere = -1, kResultSoFar = -2;

// One function. Operands and output are places.
struct Link {
  ElementOp op;
  int8_t variant;
  int8_t operands[kMostOperands];
  int8_t output;
  Word numbers[kMostNumbers];
};

// Enough for the sum of eight tensors and what goes on with it. What is longer takes another kernel; all of this is an argument that
// every launch copies, 1.3 KB.
constexpr int kMostLinks = 10;
constexpr int kMostPlaces = 2 * kMostLinks + 3;

// Four neighbours of the innermost axis are a thread's elements.
struct Chain {
  int64_t columns;  // of the innermost axis
  int rank;
  int quads;
  Divider quadsOfRow;
  Divider axes[kMaxRank];  // sizes
  int linkCount;
  int8_t rounded = kNowhere;  // the last result, in bf16
  Link links[kMostLinks];
  Place places[kMostPlaces];
};

// Puts a chain together.
class ChainBuilder {
 public:
  // The shape of all results.
  explicit ChainBuilder(const Operand& result) : shape_(result) {}

  // Adds a function of these operands; of the result so far in place of each that is null. There must be room.
  void add(ElementOp op, std::initializer_list<const Operand*> operands);

  // Adds a command, whose operands are the result so far where they coincide with `soFar`. False, and nothing is added, where that
  // is not possible: for these dtypes there is no function, or there is no room.
  bool add(ElementOp op, const Command& command, const Operand* soFar);

  // What the last link gives is written there.
  void store(const Operand& to);

  // Adds what follows on a command that gave `result` and can be done with it, a rounding to bf16 last, and enqueues all.
  void finish(const Operand& result, Launch& launch);

 private:
  Link& next(ElementOp op);
  int8_t placeOf(const Operand& operand);
  void enqueue(Launch& launch);

  const Operand& shape_;
  Chain chain_{};
  int placeCount_ = 0;
  int64_t strides_[kMostPlaces][kMaxRank] = {};
};

}  // namespace cuda
}  // namespace langevin
