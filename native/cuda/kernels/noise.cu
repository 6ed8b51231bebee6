// randn, rand, randint and dropout: seeded noise, with the bits of every other executor.
#include "images.cuh"

namespace langevin {
namespace cuda {
namespace {

__global__ void __launch_bounds__(kThreads) drawNormal(const Images<1> images, const NoiseStream stream) {
  forEachQuad(images, [&](const QuadPlace& at) {
    const noise::Floats4 z = noise::normal4(stream.at(at), stream.seed);
    storeFour<float>(images, 0, at, z.v);
  });
}

__global__ void __launch_bounds__(kThreads) drawUniform(const Images<1> images, const NoiseStream stream, const float low,
                                                        const float range) {
  forEachQuad(images, [&](const QuadPlace& at) {
    noise::Floats4 x = noise::uniform4(stream.at(at), stream.seed);
    for (int j = 0; j < kQuad; j++) x.v[j] = noise::add(low, noise::mul(range, x.v[j]));
    storeFour<float>(images, 0, at, x.v);
  });
}

__global__ void __launch_bounds__(kThreads) drawIntegers(const Images<1> images, const NoiseStream stream,
                                                         const uint32_t first, const uint32_t range) {
  forEachQuad(images, [&](const QuadPlace& at) {
    noise::Words4 x = noise::philox(stream.at(at), stream.seed);
    for (int j = 0; j < kQuad; j++) x.v[j] = first + noise::below(x.v[j], range);
    storeFour<uint32_t>(images, 0, at, x.v);
  });
}

__global__ void __launch_bounds__(kThreads) dropElements(const Images<2> images, const NoiseStream stream, const float kept,
                                                         const float scale) {
  forEachQuad(images, [&](const QuadPlace& at) {
    const noise::Floats4 u = noise::uniform4(stream.at(at), stream.seed), x = loadFour(images, 1, at);
    noise::Floats4 y;
    for (int j = 0; j < kQuad; j++) y.v[j] = u.v[j] >= kept ? noise::mul(x.v[j], scale) : 0.0f;
    storeFour<float>(images, 0, at, y.v);
  });
}

void randn(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  command.attributes.ints();  // shape: known from the output
  command.attributes.i();     // dtype: likewise
  const NoiseStream stream(command.attributes, launch);
  const Images<1> images = imagesOf<1>({&command.output});
  LANGEVIN_LAUNCH_IMAGES(launch, images, drawNormal, stream);
}

void rand(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  command.attributes.ints();
  command.attributes.i();
  const NoiseStream stream(command.attributes, launch);
  const float low = static_cast<float>(command.attributes.f()), high = static_cast<float>(command.attributes.f());
  const Images<1> images = imagesOf<1>({&command.output});
  LANGEVIN_LAUNCH_IMAGES(launch, images, drawUniform, stream, low, high - low);
}

void randint(Command& command, Launch& launch) {
  expectDType(command, DType::i32);
  command.attributes.ints();
  const NoiseStream stream(command.attributes, launch);
  const int64_t low = command.attributes.i(), high = command.attributes.i();
  const Images<1> images = imagesOf<1>({&command.output});
  LANGEVIN_LAUNCH_IMAGES(launch, images, drawIntegers, stream, static_cast<uint32_t>(low), static_cast<uint32_t>(high - low));
}

// The least of the values that `uniform` gives, multiples of 2^-24, that is not below p: comparing with it in float32
// decides as comparing with p in double does.
float leastKept(double p) { return static_cast<float>(__builtin_ceil(p * 16777216.0) / 16777216.0); }

void dropout(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const double p = command.attributes.f();
  const NoiseStream stream(command.attributes, launch);
  const Images<2> images = imagesOf<2>({&command.output, &command.inputs[0]});
  LANGEVIN_LAUNCH_IMAGES(launch, images, dropElements, stream, leastKept(p), static_cast<float>(1 / (1 - p)));
}

}  // namespace

LANGEVIN_CUDA_KERNEL("randn", "shape:ints,dtype:float32|float64,seed:seed,draw:int,image:int,step:int", randn)
LANGEVIN_CUDA_KERNEL("rand",
                     "shape:ints,dtype:float32|float64,seed:seed,draw:int,image:int,step:int,low:float,high:float", rand)
LANGEVIN_CUDA_KERNEL("randint", "shape:ints,seed:seed,draw:int,image:int,step:int,low:int,high:int", randint)
LANGEVIN_CUDA_KERNEL("dropout", "p:float,seed:seed,draw:int,image:int,step:int", dropout)

}  // namespace cuda
}  // namespace langevin
