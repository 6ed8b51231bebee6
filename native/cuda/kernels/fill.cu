// fill: writes one value to every element of the output.
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

template <class T>
struct Value {
  Number number;
  __device__ T operator()() const { return static_cast<T>(number.real()); }
};

void fill(Command& command, Launch& launch) {
  command.attributes.ints();  // shape: known from the output
  command.attributes.i();     // dtype: likewise
  const Number value = launch.number(command.attributes);
  if (command.output.dtype == DType::bf16) Launch::refuse("expected an output of a tensor's type");
  if (command.output.dtype == DType::i32) mapInputs<int32_t>(command, launch, Value<int32_t>{value});
  else mapInputs<float>(command, launch, Value<float>{value});
}

}  // namespace

LANGEVIN_CUDA_KERNEL("fill", "shape:ints,dtype:float32|int32|float64,value:float", fill)

}  // namespace cuda
}  // namespace langevin
