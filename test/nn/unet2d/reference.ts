// Diffusers' UNet2DModel once more, in plain loops over float64 numbers, PyTorch's layouts and the keys of config.json: what
// the tests compare UNet2D with.

import type { TorchState, UNet2DConfig } from "langevin";

/** Images or vectors: `data` in the order of `shape`, channels before rows. */
export interface Floats {
  readonly data: Float64Array;
  readonly shape: readonly number[];
}

const product = (shape: readonly number[]): number => shape.reduce((size, n) => size * n, 1);

/** An array of the shape, its elements by their index. */
function make(shape: readonly number[], value: (...index: number[]) => number): Floats {
  const data = new Float64Array(product(shape));
  const index = shape.map(() => 0);
  for (let at = 0; at < data.length; at++) {
    data[at] = value(...index);
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0;
  }
  return { data, shape };
}

/** The element at an index; 0 outside. */
function at({ data, shape }: Floats, ...index: number[]): number {
  let place = 0;
  for (let axis = 0; axis < shape.length; axis++) {
    if (index[axis] < 0 || index[axis] >= shape[axis]) return 0;
    place = place * shape[axis] + index[axis];
  }
  return data[place];
}

const map = (x: Floats, f: (value: number) => number): Floats => ({ data: x.data.map(f), shape: x.shape });
const add = (x: Floats, y: Floats): Floats => ({ data: x.data.map((value, i) => value + y.data[i]), shape: x.shape });
const scaled = (x: Floats, factor: number): Floats => map(x, (value) => value * factor);

// ---- layers -----------------------------------------------------------------------------------------------------------

/** The weights of a model, and the part of it that is being computed. */
class Weights {
  readonly state: TorchState;
  readonly path: string;
  constructor(state: TorchState, path = "") {
    this.state = state;
    this.path = path;
  }
  below(name: string): Weights {
    return new Weights(this.state, this.path === "" ? name : `${this.path}.${name}`);
  }
  has(name: string): boolean {
    return `${this.path}.${name}` in this.state;
  }
  get(name: string): Floats {
    const found = this.state[`${this.path}.${name}`];
    if (!found) throw new Error(`no weights ${this.path}.${name}`);
    return { data: Float64Array.from(found.data), shape: found.shape };
  }
}

function conv(x: Floats, w: Weights, stride = 1, [before, after] = [1, 1]): Floats {
  const [weight, bias] = [w.get("weight"), w.get("bias")];
  const [out, channels, kernel] = weight.shape;
  const [n, , height, width] = x.shape;
  const size = (length: number): number => Math.floor((length + before + after - kernel) / stride) + 1;
  return make([n, out, size(height), size(width)], (image, o, row, column) => {
    let sum = bias.data[o];
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < kernel; i++)
        for (let j = 0; j < kernel; j++)
          sum += at(weight, o, c, i, j) * at(x, image, c, row * stride + i - before, column * stride + j - before);
    return sum;
  });
}

/** x [N, in] -> [N, out]. */
function linear(x: Floats, w: Weights): Floats {
  const [weight, bias] = [w.get("weight"), w.get("bias")];
  return make([x.shape[0], weight.shape[0]], (row, o) => {
    let sum = bias.data[o];
    for (let i = 0; i < weight.shape[1]; i++) sum += at(x, row, i) * at(weight, o, i);
    return sum;
  });
}

function groupNorm(x: Floats, w: Weights, groups: number, eps: number): Floats {
  const [weight, bias] = [w.get("weight").data, w.get("bias").data];
  const [n, channels, height, width] = x.shape;
  const size = (channels / groups) * height * width;
  if (!Number.isInteger(size)) throw new Error(`${channels} channels in ${groups} groups`);
  const data = new Float64Array(x.data.length);
  for (let start = 0; start < n * channels * height * width; start += size) {
    const part = x.data.subarray(start, start + size);
    const mean = part.reduce((sum, value) => sum + value, 0) / size;
    const variance = part.reduce((sum, value) => sum + (value - mean) ** 2, 0) / size;
    part.forEach((value, i) => {
      const c = Math.floor((start + i) / (height * width)) % channels;
      data[start + i] = ((value - mean) / Math.sqrt(variance + eps)) * weight[c] + bias[c];
    });
  }
  return { data, shape: x.shape };
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** The error function by its series: enough for arguments of a few units. */
function erf(x: number): number {
  let [term, sum] = [x, x];
  for (let k = 1; k < 120; k++) {
    term *= (-x * x) / k;
    sum += term / (2 * k + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const activations: Record<string, (x: number) => number> = {
  silu: (x) => x * sigmoid(x),
  swish: (x) => x * sigmoid(x),
  mish: (x) => x * Math.tanh(Math.log1p(Math.exp(x))),
  gelu: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
  relu: (x) => Math.max(x, 0),
};

/** Zeros put between pixels or around them, a filter over all, and only every `down`-th pixel kept (`upfirdn2d`). */
function filtered(x: Floats, gain: number, up: number, down: number, [before, after]: readonly number[]): Floats {
  const filter = [1, 3, 3, 1].map((weight) => (weight / 8) * gain);
  const [n, channels, height, width] = x.shape;
  const size = (length: number): number => Math.ceil((length * up + before + after - 3) / down);
  const stuffed = (image: number, c: number, row: number, column: number): number =>
    row % up === 0 && column % up === 0 ? at(x, image, c, row / up, column / up) : 0;
  return make([n, channels, size(height), size(width)], (image, c, row, column) => {
    let sum = 0;
    for (let i = 0; i < 4; i++)
      for (let j = 0; j < 4; j++)
        sum += filter[i] * filter[j] * stuffed(image, c, row * down + i - before, column * down + j - before);
    return sum;
  });
}

const resamplings = {
  up: (x: Floats): Floats =>
    make([x.shape[0], x.shape[1], 2 * x.shape[2], 2 * x.shape[3]], (n, c, i, j) => at(x, n, c, i >> 1, j >> 1)),
  down: (x: Floats): Floats =>
    make([x.shape[0], x.shape[1], x.shape[2] / 2, x.shape[3] / 2], (n, c, i, j) => {
      const [row, column] = [2 * i, 2 * j];
      const upper = at(x, n, c, row, column) + at(x, n, c, row, column + 1);
      return (upper + at(x, n, c, row + 1, column) + at(x, n, c, row + 1, column + 1)) / 4;
    }),
  firUp: (x: Floats): Floats => filtered(x, 2, 2, 1, [2, 1]),
  firDown: (x: Floats): Floats => filtered(x, 1, 1, 2, [1, 1]),
};

function concat(x: Floats, y: Floats): Floats {
  const [n, channels, height, width] = x.shape;
  return make([n, channels + y.shape[1], height, width], (image, c, i, j) =>
    c < channels ? at(x, image, c, i, j) : at(y, image, c - channels, i, j),
  );
}

// ---- blocks -----------------------------------------------------------------------------------------------------------

interface ResnetOptions {
  readonly groups: number;
  readonly groupsOut?: number;
  readonly scale?: number;
  readonly resample?: keyof typeof resamplings;
  readonly skipTimeAct?: boolean;
}

/** `ResnetBlock2D`. */
export function resnetBlock(
  x: Floats,
  temb: Floats,
  w: Weights,
  config: Pick<UNet2DConfig, "act_fn" | "norm_eps" | "resnet_time_scale_shift">,
  { groups, groupsOut = groups, scale = 1, resample, skipTimeAct = false }: ResnetOptions,
): Floats {
  const { act_fn: act, norm_eps: eps, resnet_time_scale_shift: shift } = config;
  const activate = (values: Floats): Floats => map(values, activations[act]);
  const resized = (values: Floats): Floats => (resample ? resamplings[resample](values) : values);
  let h = conv(resized(activate(groupNorm(x, w.below("norm1"), groups, eps))), w.below("conv1"));
  const time = linear(skipTimeAct ? temb : activate(temb), w.below("time_emb_proj"));
  const channels = h.shape[1];
  if (shift === "default") h = make(h.shape, (n, c, i, j) => at(h, n, c, i, j) + at(time, n, c));
  h = groupNorm(h, w.below("norm2"), groupsOut, eps);
  if (shift === "scale_shift") {
    const normed = h;
    h = make(h.shape, (n, c, i, j) => at(normed, n, c, i, j) * (1 + at(time, n, c)) + at(time, n, channels + c));
  }
  h = conv(activate(h), w.below("conv2"));
  const beside = resized(x);
  return scaled(
    add(w.has("conv_shortcut.weight") ? conv(beside, w.below("conv_shortcut"), 1, [0, 0]) : beside, h),
    1 / scale,
  );
}

/** `Attention` over the pixels, with heads of `headDim` channels. */
export function attentionBlock(
  x: Floats,
  w: Weights,
  eps: number,
  headDim: number,
  { groups, scale = 1 }: { groups: number | null; scale?: number },
): Floats {
  const [n, channels, height, width] = x.shape;
  const pixels = height * width;
  const normed = groups === null ? x : groupNorm(x, w.below("group_norm"), groups, eps);
  const rows = make([n * pixels, channels], (row, c) =>
    at({ data: normed.data, shape: [n, channels, pixels] }, Math.floor(row / pixels), c, row % pixels),
  );
  const [q, k, v] = ["to_q", "to_k", "to_v"].map((name) => linear(rows, w.below(name)));
  const heads = Math.floor(channels / headDim);
  const mixed = make([n * pixels, heads * headDim], () => 0);
  for (let image = 0; image < n; image++)
    for (let head = 0; head < heads; head++)
      for (let query = 0; query < pixels; query++) {
        const weights = new Float64Array(pixels);
        for (let key = 0; key < pixels; key++) {
          for (let d = head * headDim; d < (head + 1) * headDim; d++)
            weights[key] += at(q, image * pixels + query, d) * at(k, image * pixels + key, d);
          weights[key] = Math.exp(weights[key] / Math.sqrt(headDim));
        }
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (let d = head * headDim; d < (head + 1) * headDim; d++)
          for (let key = 0; key < pixels; key++)
            mixed.data[(image * pixels + query) * heads * headDim + d] +=
              (weights[key] / total) * at(v, image * pixels + key, d);
      }
  const out = linear(mixed, w.below("to_out.0"));
  return make(
    x.shape,
    (image, c, i, j) => (at(out, image * pixels + i * width + j, c) + at(x, image, c, i, j)) / scale,
  );
}

// ---- the model --------------------------------------------------------------------------------------------------------

/** One run of the model on given weights. */
class Run {
  readonly config: UNet2DConfig;
  readonly weights: Weights;
  temb: Floats = { data: new Float64Array(), shape: [] };

  constructor(config: UNet2DConfig, state: TorchState) {
    this.config = config;
    this.weights = new Weights(state);
  }

  project(numbers: readonly number[]): Floats {
    const { time_embedding_type: type, flip_sin_to_cos: flip, freq_shift: shift } = this.config;
    const [width] = this.config.block_out_channels;
    const w = this.weights.below("time_proj");
    if (type === "learned") return make([numbers.length, width], (n, c) => at(w.get("weight"), numbers[n], c));
    const half = type === "fourier" ? width : Math.floor(width / 2);
    const angle = (n: number, i: number): number =>
      type === "fourier"
        ? 2 * Math.PI * Math.log(numbers[n]) * w.get("weight").data[i]
        : numbers[n] * Math.exp((-Math.log(10_000) * i) / (half - shift));
    const cosFirst = type === "positional" && flip;
    return make([numbers.length, type === "fourier" ? 2 * width : width], (n, c) => {
      if (c >= 2 * half) return 0;
      return c < half === cosFirst ? Math.cos(angle(n, c % half)) : Math.sin(angle(n, c % half));
    });
  }

  mlp(x: Floats, name: string): Floats {
    const w = this.weights.below(name);
    return linear(map(linear(x, w.below("linear_1")), activations.silu), w.below("linear_2"));
  }

  embed(times: readonly number[], labels: Floats | undefined): Floats {
    const time = this.mlp(this.project(times), "time_embedding");
    const { class_embed_type: type, num_class_embeds: classes } = this.config;
    if (type === "identity") return add(time, labels!);
    if (type === "timestep") return add(time, this.mlp(this.project([...labels!.data]), "class_embedding"));
    if (classes === null) return time;
    const table = this.weights.below("class_embedding").get("weight");
    return make(time.shape, (n, c) => at(time, n, c) + at(table, labels!.data[n], c));
  }

  resnet(x: Floats, w: Weights, options: ResnetOptions): Floats {
    return resnetBlock(x, this.temb, w, this.config, options);
  }

  attention(x: Floats, w: Weights, options: { groups: number | null; scale?: number }): Floats {
    return attentionBlock(x, w, this.config.norm_eps, this.config.attention_head_dim ?? x.shape[1], options);
  }
}

const groupsFor = (channels: number): number => Math.min(Math.floor(channels / 4), 32);

/** The model's result for images [N, C, H, W], times and class labels. */
export function referenceUNet2D(
  config: UNet2DConfig,
  state: TorchState,
  x: Floats,
  times: readonly number[],
  labels?: Floats,
): Floats {
  const run = new Run(config, state);
  const { down_block_types: downs, up_block_types: ups, layers_per_block: layers, norm_eps: eps } = config;
  const { norm_num_groups: groups, time_embedding_type: timeType } = config;
  const w = run.weights;
  const levels = downs.length;
  run.temb = run.embed(times, labels);
  const input = config.center_input_sample ? map(x, (value) => 2 * value - 1) : x;

  let [h, image] = [conv(input, w.below("conv_in")), input];
  const skips = [h];
  downs.forEach((name, level) => {
    const block = w.below(`down_blocks.${level}`);
    const type = name.replace("UNetRes", "");
    const [isSkip, attends] = [type.includes("Skip"), type.startsWith("Attn")];
    const scale = isSkip ? Math.SQRT2 : 1;
    const out = config.block_out_channels[level];
    const own = (channels: number): ResnetOptions =>
      isSkip ? { groups: groupsFor(channels), groupsOut: groupsFor(out), scale } : { groups: groups! };
    for (let i = 0; i < layers; i++) {
      h = run.resnet(h, block.below(`resnets.${i}`), own(h.shape[1]));
      if (attends) h = run.attention(h, block.below(`attentions.${i}`), { groups: isSkip ? 32 : groups, scale });
      skips.push(h);
    }
    if (level === levels - 1) return;
    if (isSkip) {
      h = run.resnet(h, block.below("resnet_down"), { ...own(out), resample: "firDown" });
      image = resamplings.firDown(image);
      h = add(h, conv(image, block.below("skip_conv"), 1, [0, 0]));
    } else if (type.startsWith("Resnet") || (attends && config.downsample_type === "resnet"))
      h = run.resnet(h, block.below("downsamplers.0"), { ...own(out), resample: "down" });
    else h = conv(h, block.below("downsamplers.0.conv"), 2, config.downsample_padding === 0 ? [0, 1] : [1, 1]);
    skips.push(h);
  });

  if (config.mid_block_type !== null) {
    const mid = w.below("mid_block");
    const scale = config.mid_block_scale_factor;
    const own = groups ?? groupsFor(h.shape[1]);
    h = run.resnet(h, mid.below("resnets.0"), { groups: own, scale });
    const before = config.attn_norm_num_groups ?? (config.resnet_time_scale_shift === "default" ? own : null);
    if (config.add_attention) h = run.attention(h, mid.below("attentions.0"), { groups: before, scale });
    h = run.resnet(h, mid.below("resnets.1"), { groups: own, scale });
  }

  let sum: Floats | undefined;
  ups.forEach((name, level) => {
    const block = w.below(`up_blocks.${level}`);
    const type = name.replace("UNetRes", "");
    const [isSkip, attends] = [type.includes("Skip"), type.startsWith("Attn")];
    const out = config.block_out_channels[levels - 1 - level];
    const scale = isSkip ? Math.SQRT2 : 1;
    for (let i = 0; i <= layers; i++) {
      const skip = skips.pop()!;
      const [own, beside] = [h.shape[1], skip.shape[1]];
      h = concat(h, skip);
      const joined = attends ? Math.min(own + Math.floor(beside / 4), 32) : groupsFor(own + beside);
      const options = isSkip ? { groups: joined, groupsOut: groupsFor(out), scale } : { groups: groups! };
      h = run.resnet(h, block.below(`resnets.${i}`), options);
      if (attends && !isSkip) h = run.attention(h, block.below(`attentions.${i}`), { groups });
    }
    if (attends && isSkip) h = run.attention(h, block.below("attentions.0"), { groups: 32, scale });
    if (isSkip && sum) sum = resamplings.firUp(sum);
    if (level === levels - 1) return;
    if (isSkip) {
      const normed = map(groupNorm(h, block.below("skip_norm"), groupsFor(out), eps), activations.silu);
      const made = conv(normed, block.below("skip_conv"));
      sum = sum ? add(sum, made) : made;
      h = run.resnet(h, block.below("resnet_up"), { groups: groupsFor(out), scale, resample: "firUp" });
    } else if (type.startsWith("Resnet") || (attends && config.upsample_type === "resnet"))
      h = run.resnet(h, block.below("upsamplers.0"), { groups: groups!, resample: "up" });
    else h = conv(resamplings.up(h), block.below("upsamplers.0.conv"));
  });

  const [width] = config.block_out_channels;
  h = map(groupNorm(h, w.below("conv_norm_out"), groups ?? groupsFor(width), eps), activations.silu);
  h = conv(h, w.below("conv_out"));
  if (sum) h = add(h, sum);
  return timeType === "fourier" ? make(h.shape, (n, c, i, j) => at(h, n, c, i, j) / times[n]) : h;
}

export { Weights };
