// gather and embedding: elements and rows picked by index; scatterAdd and embeddingGradient: what is picked, added up by
// index in the order of the indexes.
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

void expectIndexed(const Operand& x, const Operand& y, const Operand& index) {
  if (!isWord(x.dtype) || x.dtype != y.dtype || index.dtype != DType::i32)
    Launch::refuse("expected values of one dtype, float32 or int32, and an int32 index");
}

// An axis along which indexes point into an operand.
struct Axis {
  int64_t size, stride;
};

Axis axisOf(const Operand& x, int64_t given) {
  const int axis = static_cast<int>(given < 0 ? given + x.rank : given);
  int64_t strides[kMaxRank] = {};
  x.strides(strides);
  return {x.shape[axis], strides[axis]};
}

// A walk over the shape of `operands[0]`, not broadcast, in which operand `still` stays where it is along the axis.
template <int N>
Walk<N> walkAcross(const Operand* const (&operands)[N], int64_t given, int still) {
  Walk<N> walk;
  walk.rank = operands[0]->rank;
  for (int i = 0; i < walk.rank; i++) walk.shape[i] = operands[0]->shape[i];
  for (int k = 0; k < N; k++) {
    operands[k]->strides(walk.stride[k]);
    walk.data[k] = operands[k]->data;
  }
  walk.stride[still][given < 0 ? given + walk.rank : given] = 0;
  return walk;
}

// index, y, x. What is picked from outside is the smallest integer, or NaN.
__global__ void __launch_bounds__(kThreads) gatherElements(const Walk<3> walk, const Axis axis, const Word outside) {
  for (int64_t i = firstTurn(); i < walk.size; i += turnStep()) {
    int64_t offset[3];
    walk.locate(i, offset);
    const int64_t at = static_cast<const int32_t*>(walk.data[0])[offset[0]];
    const bool inside = at >= 0 && at < axis.size;
    static_cast<Word*>(walk.data[1])[offset[1]] =
        inside ? static_cast<const Word*>(walk.data[2])[offset[2] + at * axis.stride] : outside;
  }
}

void gather(Command& command, Launch& launch) {
  const Operand &x = command.inputs[0], &index = command.inputs[1], &y = command.output;
  expectIndexed(x, y, index);
  const int64_t axis = command.attributes.i();
  Walk<3> walk = walkAcross<3>({&index, &y, &x}, axis, 2);
  walk.collapse();
  if (walk.size == 0) return;
  const Word outside = x.dtype == DType::i32 ? 0x80000000u : 0x7FC00000u;
  GPU_LAUNCH(gatherElements, gridFor(launch, walk.size), dim3(kThreads), launch.stream(), walk, axisOf(x, axis), outside);
}

// index, x, y: one thread for each line along the axis, since lines of the index write to lines of y that no other one
// writes to.
template <class T>
__global__ void __launch_bounds__(kThreads) addLines(const Walk<3> walk, const int64_t length, const int64_t indexStep,
                                                     const int64_t fromStep, const Axis axis) {
  for (int64_t line = firstTurn(); line < walk.size; line += turnStep()) {
    int64_t offset[3];
    walk.locate(line, offset);
    const int32_t* const index = static_cast<const int32_t*>(walk.data[0]) + offset[0];
    const T* const from = static_cast<const T*>(walk.data[1]) + offset[1];
    T* const to = static_cast<T*>(walk.data[2]) + offset[2];
    for (int64_t i = 0; i < length; i++) {
      const int64_t at = index[i * indexStep];
      if (at >= 0 && at < axis.size) to[at * axis.stride] = to[at * axis.stride] + from[i * fromStep];
    }
  }
}

struct Zero {
  __device__ Word operator()() const { return 0; }
};

void scatterAdd(Command& command, Launch& launch) {
  const Operand &index = command.inputs[0], &x = command.inputs[1], &y = command.output;
  expectIndexed(x, y, index);
  const int64_t given = command.attributes.i();
  const int along = static_cast<int>(given < 0 ? given + index.rank : given);
  mapInputs<Word>(command, launch, Zero{});
  Walk<3> walk = walkAcross<3>({&index, &x, &y}, given, 2);
  const int64_t length = walk.shape[along], indexStep = walk.stride[0][along], fromStep = walk.stride[1][along];
  walk.shape[along] = 1;
  walk.collapse();
  if (walk.size == 0 || length == 0) return;
  const dim3 grid = gridFor(launch, walk.size);
  if (x.dtype == DType::f32)
    GPU_LAUNCH(addLines<float>, grid, dim3(kThreads), launch.stream(), walk, length, indexStep, fromStep, axisOf(y, given));
  else
    GPU_LAUNCH(addLines<Word>, grid, dim3(kThreads), launch.stream(), walk, length, indexStep, fromStep, axisOf(y, given));
}

// An int32 operand of any shape, and its number of elements.
struct Indexes {
  const int32_t* data;
  int64_t count, cols, pitch;

  __device__ int64_t at(int64_t i) const { return data[i / cols * pitch + i % cols]; }
};

Indexes indexesOf(const Operand& index, const Operand& from, const Operand& to) {
  if (index.dtype != DType::i32 || from.dtype != DType::f32 || to.dtype != DType::f32)
    Launch::refuse("expected float32 operands and an int32 index");
  return {index.as<const int32_t>(), index.size(), index.cols(), index.pitch};
}

// Rows of float32.
struct Rows {
  float* data;
  int64_t count, width, pitch;
};

Rows rowsOf(const Operand& x) { return {x.as<float>(), x.rows(), x.cols(), x.pitch}; }

__global__ void __launch_bounds__(kThreads) pickRows(const Rows y, const Rows table, const Indexes index) {
  for (int64_t i = firstTurn(); i < index.count * y.width; i += turnStep()) {
    const int64_t row = i / y.width, col = i - row * y.width, at = index.at(row);
    const bool inside = at >= 0 && at < table.count;
    y.data[row * y.pitch + col] = inside ? table.data[at * table.pitch + col] : noise::fromBits(0x7FC00000u);
  }
}

void embedding(Command& command, Launch& launch) {
  const Operand &table = command.inputs[0], &index = command.inputs[1], &y = command.output;
  const Indexes indexes = indexesOf(index, table, y);
  if (y.size() == 0) return;
  Rows rows = rowsOf(y);
  rows.width = table.dim(1);
  GPU_LAUNCH(pickRows, gridFor(launch, y.size()), dim3(kThreads), launch.stream(), rows, rowsOf(table), indexes);
}

// A warp for each row of the table: its lanes look at 32 indexes at a time, and those of dy's rows that belong here are added
// up in their order, so that repeated ones always come to the same sum.
__global__ void __launch_bounds__(kThreads) addRows(const Rows table, const Rows dy, const Indexes index) {
  const int64_t lane = threadIdx.x % gpu::kWarp;
  for (int64_t row = firstTurn() / gpu::kWarp; row < table.count; row += turnStep() / gpu::kWarp) {
    bool named = true;
    for (int64_t first = 0; first < table.width; first += gpu::kWarp) {
      const int64_t col = first + lane;
      float sum = 0;
      uint32_t ofAll = 0;
      for (int64_t k = 0; named && k < index.count; k += gpu::kWarp) {
        const uint32_t these =
            __ballot_sync(gpu::kAllLanes, k + lane < index.count && static_cast<int64_t>(index.at(k + lane)) == row);
        ofAll |= these;
        int64_t at = k;
        for (uint32_t left = these; left != 0; left >>= 1, at++)
          if ((left & 1) != 0 && col < table.width) sum = sum + dy.data[at * dy.pitch + col];
      }
      if (col < table.width) table.data[row * table.pitch + col] = sum;
      named = ofAll != 0;
    }
  }
}

void embeddingGradient(Command& command, Launch& launch) {
  const Operand &index = command.inputs[0], &dy = command.inputs[1], &table = command.output;
  const Indexes indexes = indexesOf(index, dy, table);
  if (table.size() == 0) return;
  GPU_LAUNCH(addRows, gridFor(launch, table.rows() * gpu::kWarp), dim3(kThreads), launch.stream(), rowsOf(table), rowsOf(dy),
             indexes);
}

}  // namespace

LANGEVIN_CUDA_KERNEL("gather", "axis:int", gather)
LANGEVIN_CUDA_KERNEL("scatterAdd", "axis:int,shape:ints", scatterAdd)
LANGEVIN_CUDA_KERNEL("embedding", "", embedding)
LANGEVIN_CUDA_KERNEL("embeddingGradient", "rows:int", embeddingGradient)

}  // namespace cuda
}  // namespace langevin
