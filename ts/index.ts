// The public API: everything that `import ... from "langevin"` offers.

export { defaultDevice, memoryStats, setDefaultDevice } from "./device/devices.ts";
export type { DeviceName, MemoryStats, Precision } from "./device/executor.ts";
export {
  ArgumentError,
  CaptureError,
  DTypeError,
  DeviceError,
  ExportError,
  FormatError,
  GradientError,
  LangevinError,
  LifetimeError,
  NumericsError,
  ShapeError,
} from "./errors/index.ts";
export type { ErrorDetails, ErrorOperand } from "./errors/index.ts";
export { PerStep } from "./ops/index.ts";
export type { DType, Shape } from "./ops/index.ts";

export {
  arange,
  concat,
  eye,
  full,
  fullLike,
  linspace,
  meshgrid,
  ones,
  onesLike,
  stack,
  zeros,
  zerosLike,
} from "./tensor/creation.ts";
export { attention, scaledDotProductAttention } from "./tensor/functional/attention.ts";
export type { AttentionOptions, ScaledDotProductAttentionOptions } from "./tensor/functional/attention.ts";
export { conv2d, convTranspose2d } from "./tensor/functional/conv.ts";
export type { Conv2dOptions, ConvTranspose2dOptions } from "./tensor/functional/conv.ts";
export { cosineSimilarity, normalize } from "./tensor/functional/direction.ts";
export type { DirectionOptions } from "./tensor/functional/direction.ts";
export { dropout } from "./tensor/functional/dropout.ts";
export { einsum } from "./tensor/functional/einsum.ts";
export { embedding, linear } from "./tensor/functional/linear.ts";
export { bceWithLogits, crossEntropy, huber, l1, mse, pseudoHuber, smoothL1 } from "./tensor/functional/losses.ts";
export type { LossOptions, Reduction } from "./tensor/functional/losses.ts";
export { oneHot } from "./tensor/functional/one-hot.ts";
export { pad } from "./tensor/functional/pad.ts";
export type { Margins, PadOptions } from "./tensor/functional/pad.ts";
export { pixelShuffle, pixelUnshuffle } from "./tensor/functional/pixel-shuffle.ts";
export { groupNorm, layerNorm, rmsNorm } from "./tensor/functional/norm.ts";
export type { NormalisationOptions } from "./tensor/functional/norm.ts";
export { avgPool2d, maxPool2d } from "./tensor/functional/pool.ts";
export type { AvgPool2dOptions, MaxPool2dOptions } from "./tensor/functional/pool.ts";
export { adaptiveAvgPool2d, globalAvgPool2d, resize2d } from "./tensor/functional/resize.ts";
export type { Resize2dOptions, ResizeTarget } from "./tensor/functional/resize.ts";
export { lerp, where } from "./tensor/functional/selection.ts";
export type { Padding, Pair } from "./tensor/functional/window.ts";
export { capture } from "./tensor/capture.ts";
export type { CaptureOptions, Captured, PlanSummary, ReplaySettings } from "./tensor/capture.ts";
export type { StepReport } from "./tensor/captured-plan.ts";
export { noGrad } from "./tensor/grad-mode.ts";
export { Parameter } from "./tensor/parameter.ts";
export { draws, manualSeed, rand, randint, randn } from "./tensor/random.ts";
export type { NoiseOptions, Seed } from "./tensor/random.ts";
export type { StepNumber } from "./tensor/recording.ts";
export { iterate, repeat } from "./tensor/repeat.ts";
export type { TensorTree } from "./tensor/tree.ts";
export { scope } from "./tensor/scope.ts";
export { setStrictMode } from "./tensor/strict-mode.ts";
export { Tensor, setDefaultDType, tensor } from "./tensor/tensor.ts";
export type { Axes, NormOptions, ReduceOptions, SliceRange, VarianceOptions } from "./tensor/arguments.ts";
export type { Operable, TensorOptions } from "./tensor/tensor.ts";
export type { Elements, NestedNumbers, TensorData } from "./tensor/elements.ts";

export { fromImage, grid, toPng } from "./io/image.ts";
export type { FromImageOptions } from "./io/image.ts";
export type { TorchLayout } from "./io/layout.ts";
export { parseNpy, readNpy, serializeNpy, writeNpy } from "./io/npy.ts";
export { readPng, writePng } from "./io/png.ts";
export type { Channels, GridOptions, Picture } from "./io/png.ts";
export { toFloat32, toInt32 } from "./io/raw-tensor.ts";
export type { RawDType, RawTensor } from "./io/raw-tensor.ts";
export { parseSafetensors, readSafetensors, serializeSafetensors, writeSafetensors } from "./io/safetensors.ts";
export type { NamedTensors, Safetensors } from "./io/safetensors.ts";

export { digits } from "./data/digits.ts";
export { ImageSet } from "./data/image-set.ts";
export type { Batch, Batches, ImageSetOptions } from "./data/image-set.ts";
export {
  ELU,
  Flatten,
  GELU,
  Identity,
  LeakyReLU,
  Mish,
  ReLU,
  ReLU6,
  SiLU,
  Sigmoid,
  Softmax,
  Softplus,
  Tanh,
} from "./nn/activations.ts";
export type { Gives, Takes, Verdicts } from "./nn/channels.ts";
export { DiT } from "./nn/dit/dit.ts";
export type { DiTConditions, DiTGuidance, DiTOptions } from "./nn/dit/dit.ts";
export type { DiTPreset, DiTSize } from "./nn/dit/presets.ts";
export { Dropout } from "./nn/dropout.ts";
export { MultiHeadAttention } from "./nn/attention.ts";
export type { MultiHeadAttentionOptions } from "./nn/attention.ts";
export { xavierUniform } from "./nn/init.ts";
export type { WeightInit } from "./nn/init.ts";
export { Conv2d, ConvTranspose2d, Embedding, Linear } from "./nn/layers.ts";
export type { LayerOptions } from "./nn/layers.ts";
export { Module } from "./nn/module.ts";
export { GroupNorm, LayerNorm, RMSNorm } from "./nn/norm.ts";
export type { NormLayerOptions } from "./nn/norm.ts";
export type { StateDict } from "./nn/module.ts";
export type { LayerSummary, MemorySummary, ModelSummary, SummaryOptions } from "./nn/summary.ts";
export { AdaptiveAvgPool2d, AvgPool2d, MaxPool2d } from "./nn/pool.ts";
export { PixelShuffle, PixelUnshuffle, Upsample } from "./nn/resample.ts";
export { Sequential } from "./nn/sequential.ts";
export type { Layer } from "./nn/sequential.ts";
export { GaussianFourierProjection, TimestepEmbedding, timestepEmbedding } from "./nn/timestep-embedding.ts";
export type { GaussianFourierOptions, TimestepEmbeddingOptions } from "./nn/timestep-embedding.ts";
export { UNet2D } from "./nn/unet2d/unet2d.ts";
export type { UNet2DInputs } from "./nn/unet2d/unet2d.ts";
export type { ActivationName } from "./nn/unet2d/activation.ts";
export type { ConfigNotes, UNet2DConfig } from "./nn/unet2d/config.ts";
export type {
  DownBlockType,
  PlainDownBlockType,
  PlainUpBlockType,
  ResolvedUNet2DOptions,
  UNet2DOptions,
  UpBlockType,
} from "./nn/unet2d/options.ts";
export type { BlockSettings, DownBlockOptions, DownResult, UpBlockOptions, UpResult } from "./nn/unet2d/blocks.ts";
export { DownBlock } from "./nn/unet2d/down-block.ts";
export type { DownBlockParts } from "./nn/unet2d/down-block.ts";
export { MidBlock } from "./nn/unet2d/mid-block.ts";
export type { MidBlockOptions } from "./nn/unet2d/mid-block.ts";
export { SkipDownBlock, SkipUpBlock } from "./nn/unet2d/skip-blocks.ts";
export type { SkipBlockParts } from "./nn/unet2d/skip-blocks.ts";
export { Timesteps } from "./nn/unet2d/timesteps.ts";
export { UpBlock } from "./nn/unet2d/up-block.ts";
export type { UpBlockParts } from "./nn/unet2d/up-block.ts";
export type { UNet2DPreset } from "./nn/unet2d/presets.ts";
export { ResnetBlock2D } from "./nn/unet2d/resnet-block.ts";
export type { ResnetBlock2DOptions, ResnetSettings } from "./nn/unet2d/resnet-block.ts";
export { Downsample2D, Upsample2D } from "./nn/unet2d/resample.ts";
export type { DownsamplePadding } from "./nn/unet2d/resample.ts";
export { SpatialAttention } from "./nn/unet2d/spatial-attention.ts";
export type { SpatialAttentionOptions } from "./nn/unet2d/spatial-attention.ts";
export { loadTorchState, loadWeights, saveWeights, torchState } from "./nn/weights.ts";
export type { RenamedLayers, TorchState } from "./nn/weights.ts";
export { Adam, AdamW } from "./optim/adam.ts";
export type { AdamOptions } from "./optim/adam.ts";
export { clipGradNorm, clipGradValue } from "./optim/clip.ts";
export { EMA } from "./optim/ema.ts";
export type { EMAOptions, EMAState } from "./optim/ema.ts";
export {
  constantLr,
  cosineLr,
  cosineWithRestartsLr,
  linearLr,
  piecewiseConstantLr,
  polynomialLr,
} from "./optim/learning-rates.ts";
export type { DecayOptions, LearningRateSchedule, LearningRateStair, WarmupOptions } from "./optim/learning-rates.ts";
export { Optimizer } from "./optim/optimizer.ts";
export type {
  LearningRate,
  OptimizerGroup,
  OptimizerOptions,
  OptimizerState,
  ParameterGroup,
  StepOperands,
  StepSettings,
  UpdateRule,
} from "./optim/optimizer.ts";
export { RMSprop } from "./optim/rmsprop.ts";
export type { RMSpropOptions } from "./optim/rmsprop.ts";
export { SGD } from "./optim/sgd.ts";
export type { SGDOptions } from "./optim/sgd.ts";

export type { AlphaBarCurve, BetaRange } from "./diffusion/betas.ts";
export { edmSampler } from "./diffusion/edm-sampler.ts";
export type { EdmDiscretization, EdmSamplerOptions } from "./diffusion/edm-sampler.ts";
export type { IddpmLevelsOptions } from "./diffusion/grids/iddpm-levels.ts";
export { edmGrid } from "./diffusion/grids/edm-grid.ts";
export type { EdmGridOptions } from "./diffusion/grids/edm-grid.ts";
export { flowMatchGrid } from "./diffusion/grids/flow-match-grid.ts";
export type { DynamicShift, FlowMatchGridOptions } from "./diffusion/grids/flow-match-grid.ts";
export { GaussianDiffusion } from "./diffusion/gaussian-diffusion.ts";
export type {
  ClipOptions,
  GaussianDiffusionOptions,
  HybridLosses,
  NoisedPictures,
  ReverseGaussian,
  ReverseStep,
} from "./diffusion/gaussian-diffusion.ts";
export { GaussianPath } from "./diffusion/gaussian-path.ts";
export type { ConvertOptions } from "./diffusion/gaussian-path.ts";
export { discretizedLogLikelihood, gaussianKl } from "./diffusion/gaussians.ts";
export type { Gaussian } from "./diffusion/gaussians.ts";
export { NoiseSchedule } from "./diffusion/noise-schedule.ts";
export type {
  AlphaBarCurveOptions,
  BetaRangeOptions,
  CustomBetasOptions,
  NoiseScheduleOptions,
  NoiseToSignalOptions,
  ReverseNoise,
  SchedulePostprocessing,
} from "./diffusion/noise-schedule.ts";
export {
  denoise,
  edmPreconditioning,
  iddpmPreconditioning,
  preconditioningTable,
  vePreconditioning,
  vpPreconditioning,
} from "./diffusion/preconditioning.ts";
export type {
  EdmPreconditioningOptions,
  Preconditioning,
  PreconditioningFactors,
  VePreconditioningOptions,
  VpPreconditioningOptions,
} from "./diffusion/preconditioning.ts";
export { guided } from "./diffusion/guidance.ts";
export type { ConditionalNetwork, GuidanceOptions } from "./diffusion/guidance.ts";
export { convertPrediction, predictionWeights } from "./diffusion/predictions.ts";
export type {
  Conversion,
  NoiseLevel,
  PredictionOptions,
  PredictionType,
  PredictionWeights,
} from "./diffusion/predictions.ts";
export { samplingGrid } from "./diffusion/grids/sampling-grid.ts";
export type {
  GridScheduler,
  SamplingGrid,
  SamplingGridOptions,
  SigmaGridName,
} from "./diffusion/grids/sampling-grid.ts";
export { respace, spacedTimesteps } from "./diffusion/respacing.ts";
export type { Respacing, Spacing, TimestepModel } from "./diffusion/respacing.ts";
export type { VarianceType } from "./diffusion/reverse-variance.ts";
export { denoisingLoss, edmTraining, veTraining, vpTraining } from "./diffusion/sigma-training.ts";
export type {
  DenoisingLossOptions,
  EdmTrainingOptions,
  SigmaTraining,
  VeTrainingOptions,
  VpTrainingOptions,
} from "./diffusion/sigma-training.ts";
export {
  betaSigmas,
  exponentialSigmas,
  interpolate,
  karrasSigmas,
  shiftTimes,
  stretchTimes,
  timestepsOfSigmas,
} from "./diffusion/grids/sigma-grid.ts";
export type { SigmaRange } from "./diffusion/grids/sigma-grid.ts";
export { consistencyGrid, pndmTimesteps, timestepGrid } from "./diffusion/grids/timestep-grid.ts";
export type { ConsistencyGridOptions, TimestepGridOptions, TimestepSpacing } from "./diffusion/grids/timestep-grid.ts";
export { LCMScheduler, TCDScheduler } from "./diffusion/schedulers/consistency.ts";
export type { ConsistencyRun, LCMOptions, TCDOptions, TCDRun } from "./diffusion/schedulers/consistency.ts";
export type { Churn } from "./diffusion/schedulers/churn.ts";
export { DDIMInverseScheduler } from "./diffusion/schedulers/ddim-inverse.ts";
export type { DDIMInverseOptions, DDIMInverseRun } from "./diffusion/schedulers/ddim-inverse.ts";
export { DDIMScheduler } from "./diffusion/schedulers/ddim.ts";
export type { DDIMOptions, DDIMRun } from "./diffusion/schedulers/ddim.ts";
export { DDPMScheduler } from "./diffusion/schedulers/ddpm.ts";
export type { DDPMOptions } from "./diffusion/schedulers/ddpm.ts";
export { DEISMultistepScheduler } from "./diffusion/schedulers/deis.ts";
export type { DEISOptions } from "./diffusion/schedulers/deis.ts";
export { DPMSolverMultistepScheduler } from "./diffusion/schedulers/dpm-solver-multistep.ts";
export type { DPMSolverMultistepOptions } from "./diffusion/schedulers/dpm-solver-multistep.ts";
export { DPMSolverSinglestepScheduler } from "./diffusion/schedulers/dpm-solver-singlestep.ts";
export type { DPMSolverSinglestepOptions } from "./diffusion/schedulers/dpm-solver-singlestep.ts";
export { EDMDPMSolverMultistepScheduler, EDMEulerScheduler } from "./diffusion/schedulers/edm.ts";
export type { EDMDPMSolverMultistepOptions, EDMEulerOptions, EDMEulerRun, EDMRun } from "./diffusion/schedulers/edm.ts";
export { EulerAncestralDiscreteScheduler, EulerDiscreteScheduler } from "./diffusion/schedulers/euler.ts";
export type { EulerAncestralOptions, EulerOptions, EulerRun } from "./diffusion/schedulers/euler.ts";
export { FlowMatchEulerDiscreteScheduler } from "./diffusion/schedulers/flow-match-euler.ts";
export type { FlowMatchEulerOptions, FlowMatchRun } from "./diffusion/schedulers/flow-match-euler.ts";
export { FlowMatchHeunDiscreteScheduler } from "./diffusion/schedulers/flow-match-heun.ts";
export type { FlowMatchHeunOptions, FlowMatchHeunRun } from "./diffusion/schedulers/flow-match-heun.ts";
export { HeunDiscreteScheduler } from "./diffusion/schedulers/heun.ts";
export type { HeunOptions } from "./diffusion/schedulers/heun.ts";
export { schedulerFromConfig, schedulers } from "./diffusion/schedulers/index.ts";
export type { SchedulerName } from "./diffusion/schedulers/index.ts";
export { KDPM2AncestralDiscreteScheduler, KDPM2DiscreteScheduler } from "./diffusion/schedulers/kdpm2.ts";
export type { KDPM2AncestralOptions, KDPM2Options } from "./diffusion/schedulers/kdpm2.ts";
export { LMSDiscreteScheduler } from "./diffusion/schedulers/lms.ts";
export type { LMSOptions, LMSRun } from "./diffusion/schedulers/lms.ts";
export type { SchedulerOptions } from "./diffusion/schedulers/options.ts";
export { PNDMScheduler } from "./diffusion/schedulers/pndm.ts";
export type { PNDMOptions } from "./diffusion/schedulers/pndm.ts";
export { Scheduler } from "./diffusion/schedulers/scheduler.ts";
export type {
  OptionName,
  SchedulerConfig,
  SchedulerFamily,
  SolverRun,
  Trajectory,
} from "./diffusion/schedulers/scheduler.ts";
export type { SolverSchedulerRun } from "./diffusion/schedulers/solver-scheduler.ts";
export { UniPCMultistepScheduler } from "./diffusion/schedulers/unipc.ts";
export type { UniPCOptions } from "./diffusion/schedulers/unipc.ts";
export type { ClipLimit, Limit, ThresholdLimit } from "./diffusion/solver/limit.ts";
export { LinearForm } from "./diffusion/solver/linear-form.ts";
export type { LogDeviation, NextState, SolverCall } from "./diffusion/solver/solver-call.ts";
export { Solver } from "./diffusion/solver/solver.ts";
export type { Network, NoiseSource, SolverOptions, SolverPrediction, SolverState } from "./diffusion/solver/solver.ts";
export { slerp } from "./diffusion/slerp.ts";
export type { InpaintOptions } from "./pipeline/inpainting.ts";
export { FeatureStatistics } from "./metrics/feature-statistics.ts";
export type { GaussianStatistics } from "./metrics/feature-statistics.ts";
export type { Features, ShapedNumbers } from "./metrics/features.ts";
export { frechetDistance } from "./metrics/frechet-distance.ts";
export { inceptionScore } from "./metrics/inception-score.ts";
export { kernelDistance } from "./metrics/kernel-distance.ts";
export type { KernelDistanceOptions } from "./metrics/kernel-distance.ts";
export { psnr } from "./metrics/psnr.ts";
export type { PsnrOptions } from "./metrics/psnr.ts";
export { exportOnnx } from "./pipeline/export-onnx.ts";
export type { ExportOnnxOptions, OnnxInput, OnnxShape, OnnxSummary } from "./pipeline/export-onnx.ts";
export type { LoadOptions } from "./pipeline/load-folder.ts";
export { Pipeline } from "./pipeline/pipeline.ts";
export type { InterpolateOptions, PipelineOptions } from "./pipeline/pipeline.ts";
export type { PipelineSampleOptions } from "./pipeline/pipeline-options.ts";
export type { PipelineProgress, PipelineRun } from "./pipeline/pipeline-run.ts";
export { sample } from "./pipeline/sample.ts";
export type { Denoiser, SampleOptions, SamplePreview } from "./pipeline/sample.ts";
export type { SaveOptions } from "./pipeline/save-folder.ts";
export { Progress } from "./train/progress.ts";
export type { ProgressOptions, ProgressStream } from "./train/progress.ts";
export { RunFolder } from "./train/run-folder.ts";
export type { LossRecord } from "./train/run-folder.ts";
export { train } from "./train/train.ts";
export type { StepInputs, TrainOptions, TrainProgress, TrainRun } from "./train/train.ts";
