// matmul: matrices with either operand transposed, batches broadcast: tasks for the product of gemm.cuh.
#include "matmul.cuh"

#include "rounded.cuh"

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

template <Precision precision, class Element, bool transposeA, bool transposeB>
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
    multiplyTiles<precision>(task, p.m, p.n, launch);
    return sumParts(task.epilogue.y.whole.data, task.parts.count, p.m, p.n, y, launch);
  }
  multiplyTiles<precision>(task, p.m, p.n, launch);
}

// Elements from one matrix of a batch to the next along the result's axes, 0 where it is broadcast.
void setBatchStrides(const Operand& x, int64_t pitch, const Operand& y, int64_t (&strides)[kMostBatchAxes]) {
  Operand stored = x;
  stored.pitch = pitch;
  int64_t own[kMaxRank];
  stored.strides(own);
  for (int i = 0; i < y.rank - 2; i++) {
    const int axis = i - (y.rank - x.rank);
    strides[i] = axis < 0 || x.shape[axis] == 1 ? 0 : own[axis];
  }
}

template <class Element>
MatrixProduct<Element> productOf(const Operand& a, const Operand& b, const Operand& y, bool transposeA, bool transposeB,
                                 Pitched<const Element> storedA, Pitched<const Element> storedB) {
  MatrixProduct<Element> p{};
  p.a = storedA.data;
  p.b = storedB.data;
  p.pitchA = storedA.pitch;
  p.pitchB = storedB.pitch;
  p.transposeA = transposeA;
  p.transposeB = transposeB;
  p.k = countOf(a.dim(transposeA ? -2 : -1), "terms");
  p.n = countOf(y.dim(-1), "columns");
  // One matrix b for all matrices of a: these are one, of all their rows.
  const bool shared = !transposeA && b.rows() == b.dim(-2);
  p.m = countOf(shared ? y.rows() : y.dim(-2), "rows");
  if (shared) return p;
  p.batchAxes = y.rank - 2;
  for (int i = 0; i < p.batchAxes; i++) p.batch[i] = countOf(y.shape[i], "matrices");
  setBatchStrides(a, storedA.pitch, y, p.strideA);
  setBatchStrides(b, storedB.pitch, y, p.strideB);
  return p;
}

void matmul(Command& command, Launch& launch) {
  expectFactors(command, launch);
  const Operand &a = command.inputs[0], &b = command.inputs[1], &y = command.output;
  if (y.size() == 0) return;
  const bool transposeA = command.attributes.b(), transposeB = command.attributes.b();
  const Epilogue epilogue = epilogueOf(y, command.has(2) ? &command.inputs[2] : nullptr, launch);
  inPrecision(a, b, launch, [&](auto precision, auto storedA, auto storedB) {
    multiplyMatrices<precision.value>(productOf(a, b, y, transposeA, transposeB, storedA, storedB), epilogue, launch);
  });
}

}  // namespace

template <Precision precision, class Element>
void multiplyMatrices(const MatrixProduct<Element>& p, const Epilogue& y, Launch& launch) {
  if (p.transposeA)
    p.transposeB ? run<precision, Element, true, true>(p, y, launch) : run<precision, Element, true, false>(p, y, launch);
  else
    p.transposeB ? run<precision, Element, false, true>(p, y, launch) : run<precision, Element, false, false>(p, y, launch);
}

template void multiplyMatrices<Precision::float32, float>(const MatrixProduct<float>&, const Epilogue&, Launch&);
template void multiplyMatrices<Precision::tf32, float>(const MatrixProduct<float>&, const Epilogue&, Launch&);
template void multiplyMatrices<Precision::bf16, gpu::Bf16>(const MatrixProduct<gpu::Bf16>&, const Epilogue&,
                                                            Launch&);

LANGEVIN_CUDA_KERNEL("matmul", "transposeA:bool,transposeB:bool", matmul)

}  // namespace cuda
}  // namespace langevin
