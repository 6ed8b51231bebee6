// Ops that move elements: transpositions, slices, rows, flips, triangles, concatenation.
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

using Strides = int64_t[kMaxRank];

// Enqueues a copy between two strided places of one shape.
void move(Launch& launch, int rank, const int64_t* shape, void* to, const int64_t* toStride, const void* from,
          const int64_t* fromStride) {
  Walk<2> walk;
  walk.rank = rank;
  for (int i = 0; i < rank; i++) {
    walk.shape[i] = shape[i];
    walk.stride[0][i] = toStride[i];
    walk.stride[1][i] = fromStride[i];
  }
  walk.data[0] = to;
  walk.data[1] = const_cast<void*>(from);
  map<Word, Word>(launch, walk, Same{});
}

void permute(Command& command, Launch& launch) {
  expectSameWords(command);
  const Operand &x = command.inputs[0], &y = command.output;
  const Ints axes = command.attributes.ints();
  Strides to = {}, own = {}, from = {};
  y.strides(to);
  x.strides(own);
  for (int i = 0; i < y.rank; i++) from[i] = own[axes[i] < 0 ? axes[i] + x.rank : axes[i]];
  move(launch, y.rank, y.shape, y.data, to, x.data, from);
}

void slice(Command& command, Launch& launch) {
  expectSameWords(command);
  const Operand &x = command.inputs[0], &y = command.output;
  const Ints starts = command.attributes.ints();
  command.attributes.ints();  // stops: known from the output
  const Ints steps = command.attributes.ints();
  Strides to = {}, from = {};
  y.strides(to);
  x.strides(from);
  const Word* at = x.as<const Word>();
  for (int i = 0; i < y.rank; i++) {
    at += starts[i] * from[i];
    from[i] *= steps[i];
  }
  if (y.size() > 0) move(launch, y.rank, y.shape, y.data, to, at, from);
}

void flip(Command& command, Launch& launch) {
  expectSameWords(command);
  const Operand &x = command.inputs[0], &y = command.output;
  if (y.size() == 0) return;
  const Ints axes = command.attributes.ints();
  Strides to = {}, from = {};
  y.strides(to);
  x.strides(from);
  const Word* last = x.as<const Word>();
  for (int64_t k = 0; k < axes.n; k++) {
    const int64_t i = axes[k] < 0 ? axes[k] + x.rank : axes[k];
    last += (x.shape[i] - 1) * from[i];
    from[i] = -from[i];
  }
  move(launch, y.rank, y.shape, y.data, to, last, from);
}

void concat(Command& command, Launch& launch) {
  expectSameWords(command);
  const Operand& y = command.output;
  int64_t axis = command.attributes.i();
  if (axis < 0) axis += y.rank;
  Strides to = {};
  y.strides(to);
  Word* at = y.as<Word>();
  for (int k = 0; k < command.inputCount; k++) {
    const Operand& x = command.inputs[k];
    Strides from = {};
    x.strides(from);
    if (x.size() > 0) move(launch, x.rank, x.shape, at, to, x.data, from);
    at += x.shape[axis] * to[axis];
  }
}

// The row of a table at an index that each step of a plan may give anew, hence only the kernel sees it.
struct RowIndex {
  Number index;
  int64_t rows, stride;
  Fault outside;

  // Distance of the row's first element; negative, with a fault, where there is none.
  __device__ int64_t offset() const {
    const int64_t i = index.integer();
    if (i >= 0 && i < rows) return i * stride;
    outside.raise();
    return -1;
  }
};

RowIndex rowIndex(const Operand& table, Number index, Launch& launch) {
  Strides strides = {};
  table.strides(strides);
  return {index, table.shape[0], strides[0], launch.fault("the index is outside the table")};
}

// Of y and of x with the table's first axis left out.
Walk<2> rowWalk(const Operand& row, const Operand& table, bool rowFirst) {
  Walk<2> walk;
  walk.rank = row.rank;
  for (int i = 0; i < row.rank; i++) walk.shape[i] = row.shape[i];
  Strides inTable = {};
  table.strides(inTable);
  row.strides(walk.stride[rowFirst ? 0 : 1]);
  for (int i = 0; i < row.rank; i++) walk.stride[rowFirst ? 1 : 0][i] = inTable[i + 1];
  walk.data[rowFirst ? 0 : 1] = row.data;
  walk.data[rowFirst ? 1 : 0] = table.data;
  walk.collapse();
  return walk;
}

__global__ void __launch_bounds__(kThreads) pickRow(const Walk<2> walk, const RowIndex index) {
  const int64_t start = index.offset();
  if (start < 0) return;
  for (int64_t i = firstTurn(); i < walk.size; i += turnStep()) {
    int64_t offset[2];
    walk.locate(i, offset);
    static_cast<Word*>(walk.data[0])[offset[0]] = static_cast<const Word*>(walk.data[1])[start + offset[1]];
  }
}

void row(Command& command, Launch& launch) {
  expectSameWords(command);
  const Operand &x = command.inputs[0], &y = command.output;
  const RowIndex index = rowIndex(x, launch.number(command.attributes), launch);
  const Walk<2> walk = rowWalk(y, x, true);
  if (walk.size == 0) return;
  GPU_LAUNCH(pickRow, gridFor(launch, walk.size), dim3(kThreads), launch.stream(), walk, index);
}

// The table with x at its row, and zeros elsewhere.
__global__ void __launch_bounds__(kThreads) placeRow(const Walk<2> table, const RowIndex index, const int64_t rowSize) {
  if (index.offset() < 0) return;
  for (int64_t i = firstTurn(); i < table.size; i += turnStep()) {
    int64_t offset[2];
    table.locate(i, offset);
    const bool here = i / rowSize == index.index.integer();
    static_cast<Word*>(table.data[0])[offset[0]] = here ? static_cast<const Word*>(table.data[1])[offset[1]] : 0;
  }
}

void rowGradient(Command& command, Launch& launch) {
  expectSameWords(command);
  const Operand &x = command.inputs[0], &y = command.output;
  command.attributes.i();  // rows: known from the output
  const RowIndex index = rowIndex(y, launch.number(command.attributes), launch);
  Walk<2> walk = walkOf<2>({&y, &x});  // every row of the table is walked with x
  walk.collapse();
  if (walk.size == 0) return;
  GPU_LAUNCH(placeRow, gridFor(launch, walk.size), dim3(kThreads), launch.stream(), walk, index, x.size());
}

// Where the elements of x lie in y: starts[i] + steps[i] k along axis i.
struct Grid {
  int64_t start[kMaxRank] = {};
  int64_t step[kMaxRank] = {};
  int64_t size[kMaxRank] = {};    // of x
  int64_t stride[kMaxRank] = {};  // of x
};

__global__ void __launch_bounds__(kThreads) placeElements(const Walk<1> y, const Word* x, const Grid grid, const Word value) {
  for (int64_t i = firstTurn(); i < y.size; i += turnStep()) {
    int64_t rest = i, to = 0, from = 0;
    bool taken = true;
    for (int axis = y.rank - 1; axis >= 0; axis--) {
      const int64_t place = rest % y.shape[axis], distance = place - grid.start[axis];
      rest /= y.shape[axis];
      to += place * y.stride[0][axis];
      taken = taken && distance >= 0 && distance % grid.step[axis] == 0 && distance / grid.step[axis] < grid.size[axis];
      if (taken) from += distance / grid.step[axis] * grid.stride[axis];
    }
    static_cast<Word*>(y.data[0])[to] = taken ? x[from] : value;
  }
}

// The number of elements of a walk that keeps all its axes.
Walk<1> uncollapsed(const Operand& y) {
  Walk<1> walk = walkOf<1>({&y});
  walk.size = y.size();
  return walk;
}

void place(Command& command, Launch& launch) {
  expectSameWords(command);
  const Operand &x = command.inputs[0], &y = command.output;
  if (y.size() == 0) return;
  command.attributes.ints();  // shape: known from the output
  const Ints starts = command.attributes.ints(), steps = command.attributes.ints();
  const double number = command.attributes.f();
  const float real = static_cast<float>(number);
  const int32_t integer = y.dtype == DType::i32 ? static_cast<int32_t>(number) : 0;
  Word value;
  __builtin_memcpy(&value, y.dtype == DType::i32 ? static_cast<const void*>(&integer) : &real, sizeof value);
  Grid grid;
  x.strides(grid.stride);
  for (int i = 0; i < y.rank; i++) {
    grid.start[i] = starts[i];
    grid.step[i] = steps[i];
    grid.size[i] = x.shape[i];
  }
  GPU_LAUNCH(placeElements, gridFor(launch, y.size()), dim3(kThreads), launch.stream(), uncollapsed(y), x.as<const Word>(),
             grid, value);
}

// y and x as rows of `cols`; kept is what lies on the diagonal or on one side of it.
__global__ void __launch_bounds__(kThreads) keepTriangle(Word* y, const Word* x, const int64_t rows, const int64_t cols,
                                                         const int64_t toPitch, const int64_t fromPitch, const int64_t height,
                                                         const bool lower, const int64_t diagonal) {
  for (int64_t i = firstTurn(); i < rows * cols; i += turnStep()) {
    const int64_t row = i / cols, col = i - row * cols, distance = col - row % height;
    const bool kept = lower ? distance <= diagonal : distance >= diagonal;
    y[row * toPitch + col] = kept ? x[row * fromPitch + col] : 0;
  }
}

void triangle(Command& command, Launch& launch) {
  expectSameWords(command);
  const Operand &x = command.inputs[0], &y = command.output;
  if (y.size() == 0) return;
  const bool lower = command.attributes.i() == 0;
  const int64_t diagonal = command.attributes.i();
  GPU_LAUNCH(keepTriangle, gridFor(launch, y.size()), dim3(kThreads), launch.stream(), y.as<Word>(), x.as<const Word>(),
             y.rows(), y.cols(), y.pitch, x.pitch, y.dim(-2), lower, diagonal);
}

}  // namespace

LANGEVIN_CUDA_KERNEL("permute", "axes:ints", permute)
LANGEVIN_CUDA_KERNEL("slice", "starts:ints,stops:ints,steps:ints", slice)
LANGEVIN_CUDA_KERNEL("row", "index:int", row)
LANGEVIN_CUDA_KERNEL("rowGradient", "rows:int,index:int", rowGradient)
LANGEVIN_CUDA_KERNEL("place", "shape:ints,starts:ints,steps:ints,value:float", place)
LANGEVIN_CUDA_KERNEL("flip", "axes:ints", flip)
LANGEVIN_CUDA_KERNEL("triangle", "part:lower|upper,diagonal:int", triangle)
LANGEVIN_CUDA_KERNEL("concat", "axis:int", concat)

}  // namespace cuda
}  // namespace langevin
