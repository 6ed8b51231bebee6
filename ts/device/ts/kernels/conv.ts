// Convolution: fprop (conv2d), dgrad (convTranspose2d) and wgrad (conv2dWeightGradient) as sums over taps of the filter.
//
// fprop and dgrad are both out[p, :] = sum over taps and c of source[row(p, tap), c] * filter[tap][c, :]; they differ in
// which source row a tap reads and in how the filter is packed. Output pixels are grouped by the set of taps that read
// inside the source: pixels at the border of a padded image leave some out, and so do the phases of a strided transpose.
// Within a group all pixels sum over the same taps, so that nothing is multiplied that is not there.

import type { Shape } from "../../../ops/index.ts";
import { Workspace, clearLane, lanes, multiplyPanels, packLane, packTerm, panelsOf, storeTileRow } from "../product.ts";
import type { Kernel, View } from "../view.ts";

interface Window {
  readonly stride: readonly number[];
  readonly padding: readonly number[];
  readonly dilation: readonly number[];
}

/** Where tap k of an output position reads along one axis, -1 outside the source. */
type Reach = (position: number, k: number) => number;

/** Along one axis: output positions that share the taps that reach the source, and the source position of each. */
interface AxisGroup {
  readonly taps: readonly number[];
  readonly positions: number[];
  /** Source positions, one list for each output position, in the order of `taps`. */
  readonly sources: number[][];
}

function groupAxis(outputs: number, kernel: number, reach: Reach): AxisGroup[] {
  const groups = new Map<string, AxisGroup>();
  for (let position = 0; position < outputs; position++) {
    const taps: number[] = [];
    const sources: number[] = [];
    for (let k = 0; k < kernel; k++) {
      const source = reach(position, k);
      if (source < 0) continue;
      taps.push(k);
      sources.push(source);
    }
    const key = taps.join();
    const group = groups.get(key) ?? { taps, positions: [], sources: [] };
    group.positions.push(position);
    group.sources.push(sources);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** conv2d reads forwards: source = position * stride - padding + k * dilation. */
function forwardReach({ stride, padding, dilation }: Window, axis: 0 | 1, size: number): Reach {
  return (position, k) => {
    const source = position * stride[axis] - padding[2 * axis] + k * dilation[axis];
    return source >= 0 && source < size ? source : -1;
  };
}

/** Its transpose reads backwards, where a multiple of the stride is hit. */
function backwardReach({ stride, padding, dilation }: Window, axis: 0 | 1, size: number): Reach {
  return (position, k) => {
    const source = (position + padding[2 * axis] - k * dilation[axis]) / stride[axis];
    return Number.isInteger(source) && source >= 0 && source < size ? source : -1;
  };
}

/** Pixels of one image that share their taps. */
interface PixelGroup {
  /** Indexes ky * KW + kx, ascending. */
  readonly taps: Int32Array;
  /** Output pixels within the image. */
  readonly pixels: Int32Array;
  /** Source pixel of each tap of each output pixel. */
  readonly sources: Int32Array;
}

function groupPixels(
  y: View,
  kernel: readonly [number, number],
  source: View,
  reachOf: (axis: 0 | 1, size: number) => Reach,
): PixelGroup[] {
  const [, height, width] = source.shape;
  const vertical = groupAxis(y.shape[1], kernel[0], reachOf(0, height));
  const horizontal = groupAxis(y.shape[2], kernel[1], reachOf(1, width));
  return vertical.flatMap((v) =>
    horizontal.map((h) => {
      const taps = v.taps.flatMap((ky) => h.taps.map((kx) => ky * kernel[1] + kx));
      const pixels = v.positions.flatMap((oy) => h.positions.map((ox) => oy * y.shape[2] + ox));
      const sources = v.sources.flatMap((sy) => h.sources.map((sx) => sy.flatMap((r) => sx.map((c) => r * width + c))));
      return {
        taps: Int32Array.from(taps),
        pixels: Int32Array.from(pixels),
        sources: Int32Array.from(sources.flat()),
      };
    }),
  );
}

/** A filter as panels of output channels: tap t, panel p begin at (t * panels + p) * terms * lanes. */
interface PackedFilter {
  readonly panels: Float64Array;
  /** Input channels: terms of each tap. */
  readonly terms: number;
}

const filterWorkspace = new Workspace();

/** Packs weight [KH, KW, I, O]; output channels are O, or I for the transpose. */
function packFilter(weight: View, transpose: boolean): PackedFilter {
  const [kh, kw, i, o] = weight.shape;
  const [terms, channels] = transpose ? [o, i] : [i, o];
  const panelSize = terms * lanes;
  const tapSize = panelsOf(channels) * panelSize;
  const panels = filterWorkspace.get(kh * kw * tapSize);
  for (let tap = 0; tap < kh * kw; tap++) {
    const from = weight.offset + tap * i * weight.pitch;
    const packed = panels.subarray(tap * tapSize, (tap + 1) * tapSize);
    if (!transpose)
      for (let k = 0; k < terms; k++) packTerm(packed, panelSize, k, weight.data, from + k * weight.pitch, channels);
    else
      for (let c = 0; c < panelsOf(channels) * lanes; c++) {
        const panel0 = Math.floor(c / lanes) * panelSize;
        if (c < channels) packLane(packed, panel0, c % lanes, weight.data, from + c * weight.pitch, terms);
        else clearLane(packed, panel0, c % lanes, terms);
      }
  }
  return { panels, terms };
}

const pixelWorkspace = new Workspace();

/** Computes one group of pixels in all images, four pixels by four channels at a time. */
function convolveGroup(y: View, source: View, filter: PackedFilter, bias: View | undefined, group: PixelGroup): void {
  const { taps, pixels, sources } = group;
  const { terms } = filter;
  const [count, height, width, channels] = y.shape;
  const sourceSize = source.shape[1] * source.shape[2];
  const panels = panelsOf(channels);
  const tapStarts = taps.map((tap) => tap * panels * terms * lanes);
  const packed = pixelWorkspace.get(taps.length * terms * lanes);
  const tile = new Float64Array(lanes * lanes);
  const total = count * pixels.length;
  for (let first = 0; first < total; first += lanes) {
    const filled = Math.min(lanes, total - first);
    for (let lane = 0; lane < filled; lane++) {
      const image = Math.floor((first + lane) / pixels.length);
      const pixel = first + lane - image * pixels.length;
      for (let t = 0; t < taps.length; t++) {
        const row = image * sourceSize + sources[pixel * taps.length + t];
        packLane(packed, t * terms * lanes, lane, source.data, source.offset + row * source.pitch, terms);
      }
    }
    for (let lane = filled; lane < lanes; lane++) clearLane(packed, 0, lane, taps.length * terms);
    for (let panel = 0; panel < panels; panel++) {
      tile.fill(0);
      multiplyPanels(packed, 0, filter.panels, panel * terms * lanes, tapStarts, taps.length, terms, tile, 0);
      for (let lane = 0; lane < filled; lane++) {
        const image = Math.floor((first + lane) / pixels.length);
        const row = image * height * width + pixels[first + lane - image * pixels.length];
        storeTileRow(tile, lane, y, y.offset + row * y.pitch, bias, panel * lanes, channels);
      }
    }
  }
}

export const conv2d: Kernel<Window> = (y, [x, weight, bias], window) => {
  const kernel = [weight!.shape[0], weight!.shape[1]] as const;
  const filter = packFilter(weight!, false);
  for (const group of groupPixels(y, kernel, x!, (axis, size) => forwardReach(window, axis, size)))
    convolveGroup(y, x!, filter, bias, group);
};

export const convTranspose2d: Kernel<Window> = (y, [x, weight, bias], window) => {
  const kernel = [weight!.shape[0], weight!.shape[1]] as const;
  const filter = packFilter(weight!, true);
  for (const group of groupPixels(y, kernel, x!, (axis, size) => backwardReach(window, axis, size)))
    convolveGroup(y, x!, filter, bias, group);
};

/** Pixels whose products are packed at a time: small enough that the panels stay in the cache. */
const pixelsAtATime = 128;

const sourceWorkspace = new Workspace();
const gradientWorkspace = new Workspace();
const sumWorkspace = new Workspace();
const oneGroup = new Int32Array(1);

/** Adds, for the listed pairs of rows of x and dy, the products of their channels to `sums`, tile by tile. */
function addOuterProducts(x: View, dy: View, rowsX: Int32Array, rowsDy: Int32Array, sums: Float64Array): void {
  const [channelsX, channelsDy] = [x.cols, dy.cols];
  const panelSize = pixelsAtATime * lanes;
  const panelsX = sourceWorkspace.get(panelsOf(channelsX) * panelSize);
  const panelsDy = gradientWorkspace.get(panelsOf(channelsDy) * panelSize);
  for (let first = 0; first < rowsX.length; first += pixelsAtATime) {
    const terms = Math.min(pixelsAtATime, rowsX.length - first);
    for (let k = 0; k < terms; k++) {
      packTerm(panelsX, panelSize, k, x.data, x.offset + rowsX[first + k] * x.pitch, channelsX);
      packTerm(panelsDy, panelSize, k, dy.data, dy.offset + rowsDy[first + k] * dy.pitch, channelsDy);
    }
    let tile = 0;
    for (let i = 0; i < panelsOf(channelsX); i++)
      for (let o = 0; o < panelsOf(channelsDy); o++, tile += lanes * lanes)
        multiplyPanels(panelsX, i * panelSize, panelsDy, o * panelSize, oneGroup, 1, terms, sums, tile);
  }
}

/** Rows of x and of dy that tap (ky, kx) multiplies with each other, in the order of dy's rows. */
function pairedRows(x: View, dy: View, ky: number, kx: number, window: Window): [x: Int32Array, dy: Int32Array] {
  const [, height, width] = x.shape;
  const [count, outHeight, outWidth] = dy.shape;
  const [down, across] = [forwardReach(window, 0, height), forwardReach(window, 1, width)];
  const rowsX: number[] = [];
  const rowsDy: number[] = [];
  for (let oy = 0; oy < outHeight; oy++)
    for (let ox = 0; ox < outWidth; ox++) {
      const [sy, sx] = [down(oy, ky), across(ox, kx)];
      if (sy < 0 || sx < 0) continue;
      rowsX.push(sy * width + sx);
      rowsDy.push(oy * outWidth + ox);
    }
  const repeat = (rows: readonly number[], imageSize: number) => {
    const repeated = new Int32Array(count * rows.length);
    for (let image = 0, k = 0; image < count; image++)
      for (let row = 0; row < rows.length; row++) repeated[k++] = image * imageSize + rows[row];
    return repeated;
  };
  return [repeat(rowsX, height * width), repeat(rowsDy, outHeight * outWidth)];
}

export const conv2dWeightGradient: Kernel<Window & { readonly kernel: Shape }> = (dw, [x, dy], window) => {
  const [kh, kw, channelsX, channelsDy] = dw.shape;
  const panelsDy = panelsOf(channelsDy);
  const size = panelsOf(channelsX) * panelsDy * lanes * lanes;
  const sums = sumWorkspace.get(size);
  for (let tap = 0; tap < kh * kw; tap++) {
    sums.fill(0, 0, size);
    addOuterProducts(x!, dy!, ...pairedRows(x!, dy!, Math.floor(tap / kw), tap % kw, window), sums);
    for (let i = 0; i < channelsX; i++) {
      const to = dw.offset + (tap * channelsX + i) * dw.pitch;
      for (let o = 0; o < channelsDy; o++) {
        const tile = Math.floor(i / lanes) * panelsDy + Math.floor(o / lanes);
        dw.data[to + o] = sums[tile * lanes * lanes + (i % lanes) * lanes + (o % lanes)];
      }
    }
  }
};
