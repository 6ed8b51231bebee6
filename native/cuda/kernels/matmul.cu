// matmul: matrices with either operand transposed, batches broadcast: tasks for the product of gemm.cuh.
#include "matmul.cuh"

namespace langevin {
namespace cuda {
namespace {

// Where the matrices of each product lie.
struct Batch {
  int axes;
  Divider sizes[kMostBatchAxes];
  int64_t strideA[kMostBatchAxes], strideB[kMostBatchAxes];

  __device__ __forceinline__ void find(int product, int64_t& offsetA, int64_t& offsetB) const {
    offsetA = offsetB = 0;
    for (int axis = axes - 1; axis >= 0; axis--) {
      int at;
      product = sizes[axis].divide(product, at);
      offsetA += at * strideA[axis];
      offsetB += at * strideB[axis];
    }
  }
};

template <class Element_, bool transposeA, bool transposeB>
struct Multiplication {
  using Element = Element_;
  using LoaderA = Matrix<Element>;
  using LoaderB = Matrix<Element>;
  static constexpr bool aAlongK = !transposeA, bAlongK = transposeB;

  struct Product {
    LoaderA a;
    LoaderB b;
    const Epilogue& epilogue;
    int m, n, kBegin, kEnd;
    int64_t firstRow;
    __device__ __forceinline__ int64_t rowOf(int row) const { return firstRow + row; }
  };
  LoaderA a;
  LoaderB b;
  Epilogue epilogue;
  Batch batch;
  Parts parts;  // one, unless there is a single product
  int m, n, k, products;

  __device__ __forceinline__ Product product(int z) const {
    const int part = parts.count > 1 ? z : 0, end = (part + 1) * parts.each;
    Product p{a, b, epilogue, m, n, part * parts.each, end < k ? end : k, static_cast<int64_t>(z) * m};
    if (batch.axes > 0) {
      int64_t offsetA, offsetB;
      batch.find(z, offsetA, offsetB);
      p.a.data += offsetA;
      p.b.data += offsetB;
    }
    return p;
  }
};

template <class Element>
bool stridesInVectors(const int64_t* strides, int axes) {
  constexpr int64_t width = 16 / static_cast<int64_t>(sizeof(Element));
  for (int i = 0; i < axes; i++)
    if (strides[i] % width != 0) return false;
  return true;
}

template <Arithmetic arithmetic, class Element, bool transposeA, bool transposeB>
void run(const MatrixProduct<Element>& p, const Epilogue& y, Launch& launch) {
  Multiplication<Element, transposeA, transposeB> task;
  const int innerA = transposeA ? p.m : p.k, innerB = transposeB ? p.k : p.n;
  task.a = {p.a, p.pitchA, transposeA ? p.k : p.m, innerA,
            inVectors(p.a, p.pitchA, innerA) && stridesInVectors<Element>(p.strideA, p.batchAxes)};
  task.b = {p.b, p.pitchB, transposeB ? p.n : p.k, innerB,
            inVectors(p.b, p.pitchB, innerB) && stridesInVectors<Element>(p.strideB, p.batchAxes)};
  task.m = p.m;
  task.n = p.n;
  task.k = p.k;
  task.epilogue = y;
  task.batch.axes = p.batchAxes;
  int64_t products = 1;
  for (int i = 0; i < p.batchAxes; i++) {
    task.batch.sizes[i] = Divider(p.batch[i]);
    task.batch.strideA[i] = p.strideA[i];
    task.batch.strideB[i] = p.strideB[i];
    products *= p.batch[i];
  }
  task.products = countOf(products, "matrices");
  task.parts = {(p.k + 31) / 32 * 32, 1};
  if (p.batchAxes == 0) task.parts = partsOf(p.m, p.n, p.k);
  if (task.parts.count > 1) {
    task.products = task.parts.count;
    const int64_t size = countOf(int64_t{p.m} * p.n, "elements of a result");
    task.epilogue = plainEpilogue(launch.scratch(static_cast<size_t>(task.parts.count * size) * sizeof(float)), p.n);
    multiplyTiles<arithmetic>(task, p.m, p.n, launch);
    return sumParts(task.epilogue.y, task.parts.count, p.m, p.n, y, launch);
  }
  multiplyTiles<arithmetic>(task, p.m, p.n, launch);
}

// The batch's axes, broadcast.
void setBatch(MatrixProduct<float>& p, const Operand& a, const Operand& b, const Operand& y) {
  int64_t ofA[kMaxRank], ofB[kMaxRank];
  a.strides(ofA);
  b.strides(ofB);
  p.batchAxes = y.rank - 2;
  for (int i = 0; i < p.batchAxes; i++) {
    const int inA = i - (y.rank - a.rank), inB = i - (y.rank - b.rank);
    p.batch[i] = countOf(y.shape[i], "matrices");
    p.strideA[i] = inA < 0 || a.shape[inA] == 1 ? 0 : ofA[inA];
    p.strideB[i] = inB < 0 || b.shape[inB] == 1 ? 0 : ofB[inB];
  }
}

void matmul(Command& command, Launch& launch) {
  expectFloat32(command);
  const Operand &a = command.inputs[0], &b = command.inputs[1], &y = command.output;
  if (y.size() == 0) return;
  MatrixProduct<float> p{};
  p.transposeA = command.attributes.b();
  p.transposeB = command.attributes.b();
  p.a = a.as<const float>();
  p.b = b.as<const float>();
  p.pitchA = a.pitch;
  p.pitchB = b.pitch;
  p.k = countOf(a.dim(p.transposeA ? -2 : -1), "terms");
  p.n = countOf(y.dim(-1), "columns");
  // One matrix b for all matrices of a: these are one, of all their rows.
  const bool shared = !p.transposeA && b.rows() == b.dim(-2);
  p.m = countOf(shared ? y.rows() : y.dim(-2), "rows");
  if (!shared) setBatch(p, a, b, y);
  multiplyMatrices<Arithmetic::float32>(p, epilogueOf(y, command.has(2) ? &command.inputs[2] : nullptr, launch), launch);
}

}  // namespace

template <Arithmetic arithmetic, class Element>
void multiplyMatrices(const MatrixProduct<Element>& p, const Epilogue& y, Launch& launch) {
  if (p.transposeA)
    p.transposeB ? run<arithmetic, Element, true, true>(p, y, launch) : run<arithmetic, Element, true, false>(p, y, launch);
  else
    p.transposeB ? run<arithmetic, Element, false, true>(p, y, launch) : run<arithmetic, Element, false, false>(p, y, launch);
}

template void multiplyMatrices<Arithmetic::float32, float>(const MatrixProduct<float>&, const Epilogue&, Launch&);
template void multiplyMatrices<Arithmetic::tf32, float>(const MatrixProduct<float>&, const Epilogue&, Launch&);
template void multiplyMatrices<Arithmetic::bf16, gpu::Bf16>(const MatrixProduct<gpu::Bf16>&, const Epilogue&,
                                                            Launch&);

LANGEVIN_CUDA_KERNEL("matmul", "transposeA:bool,transposeB:bool", matmul)

}  // namespace cuda
}  // namespace langevin
