// addNoise and ddpmStep: the forward process and the reverse step of DDPM, each in one pass (Ho et al. 2020).
//
//   addNoise   x[t]   = imageScale[t] x0 + noiseScale[t] noise
//   ddpmStep   x[t-1] = meanScale[t] (x[t] - epsilonScale[t] epsilon) + sigma[t] z,   z ~ N(0, 1), no noise where t = 0
//
// The reverse step draws its noise on the way: three reads and a write of each element are all the traffic; separate kernels
// for noise, products and sum would take four times as much. Every operation rounds to float32 in the order written, so that
// all executors give the same bits.
#include "images.cuh"

namespace langevin {
namespace cuda {
namespace {

// [T, columns] float32; a timestep outside gives NaN.
struct Schedule {
  const int32_t* t;  // of each image
  const float* table;
  int64_t steps, pitch;

  __device__ float at(int64_t image, int column) const {
    const int32_t step = t[image];
    return step >= 0 && step < steps ? table[step * pitch + column] : noise::fromBits(0x7FC00000u);
  }
};

// Checks the dtypes of an op whose inputs 2 and 3 are timesteps and coefficients.
Schedule scheduleOf(const Command& command) {
  bool good = command.output.dtype == DType::f32;
  for (int i = 0; i < command.inputCount; i++)
    good = good && (!command.inputs[i].present() || command.inputs[i].dtype == (i == 2 ? DType::i32 : DType::f32));
  if (!good) Launch::refuse("expected float32 operands and int32 timesteps");
  const Operand& table = command.inputs[3];
  return {command.inputs[2].as<const int32_t>(), table.as<const float>(), table.dim(0), table.pitch};
}

// y, x0, noise
__global__ void __launch_bounds__(kThreads) noiseImages(const Images<3> images, const Schedule schedule) {
  forEachQuad(images, [&](const QuadPlace& at) {
    const float imageScale = schedule.at(at.image, 0), noiseScale = schedule.at(at.image, 1);
    const noise::Floats4 x0 = loadFour(images, 1, at), z = loadFour(images, 2, at);
    noise::Floats4 y;
    for (int j = 0; j < kQuad; j++) y.v[j] = noise::add(noise::mul(imageScale, x0.v[j]), noise::mul(noiseScale, z.v[j]));
    storeFour<float>(images, 0, at, y.v);
  });
}

void addNoise(Command& command, Launch& launch) {
  const Schedule schedule = scheduleOf(command);
  const Images<3> images = imagesOf<3>({&command.output, &command.inputs[0], &command.inputs[1]});
  LANGEVIN_LAUNCH_IMAGES(launch, images, noiseImages, schedule);
}

// y, x, epsilon, and z where it is given
__global__ void __launch_bounds__(kThreads) reverseImages(const Images<4> images, const Schedule schedule,
                                                          const NoiseStream stream, const bool given) {
  forEachQuad(images, [&](const QuadPlace& at) {
    const float meanScale = schedule.at(at.image, 0), epsilonScale = schedule.at(at.image, 1);
    const float sigma = schedule.at(at.image, 2);
    const bool noisy = schedule.t[at.image] != 0;
    const noise::Floats4 x = loadFour(images, 1, at), epsilon = loadFour(images, 2, at);
    noise::Floats4 z{{0, 0, 0, 0}}, y;
    if (noisy) z = given ? loadFour(images, 3, at) : noise::normal4(stream.at(at), stream.seed);
    for (int j = 0; j < kQuad; j++) {
      const float mean = noise::mul(meanScale, noise::sub(x.v[j], noise::mul(epsilonScale, epsilon.v[j])));
      y.v[j] = noisy ? noise::add(mean, noise::mul(sigma, z.v[j])) : mean;
    }
    storeFour<float>(images, 0, at, y.v);
  });
}

void ddpmStep(Command& command, Launch& launch) {
  const Schedule schedule = scheduleOf(command);
  const NoiseStream stream(command.attributes, launch);
  const bool given = command.has(4);
  const Operand& x = command.inputs[0];
  const Images<4> images = imagesOf<4>({&command.output, &x, &command.inputs[1], given ? &command.inputs[4] : &x});
  LANGEVIN_LAUNCH_IMAGES(launch, images, reverseImages, schedule, stream, given);
}

}  // namespace

LANGEVIN_CUDA_KERNEL("addNoise", "", addNoise)
LANGEVIN_CUDA_KERNEL("ddpmStep", "seed:seed,draw:int,image:int,step:int", ddpmStep)

}  // namespace cuda
}  // namespace langevin
