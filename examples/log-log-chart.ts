// Line charts with logarithmic axes, side by side, as SVG: a picture of text that needs no library to write or to show.

/** A line of a chart. */
export interface Line {
  readonly label: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

/** One chart. */
export interface Panel {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly lines: readonly Line[];
  /** Powers of x whose slopes are drawn for comparison: the least above the lines, the greatest below them. */
  readonly orders: readonly number[];
}

const columns = 2;
const plot = { width: 370, height: 330 };
const legendWidth = 235;
const margin = { left: 70, right: legendWidth, top: 42, bottom: 54 };
const cell = { width: margin.left + plot.width + margin.right, height: margin.top + plot.height + margin.bottom };

/** Okabe and Ito's colours, which people with any colour vision tell apart, and two more. */
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c510a", "#7f7f7f"];

/** Marks of lines around (0, 0), as paths: lines stay apart without colour, too. */
const marks = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
  "M-3.5 -3.5h7v7h-7z",
  "M0 -4.5L4.5 3.5H-4.5z",
  "M0 -5L5 0L0 5L-5 0z",
  "M0 4.5L4.5 -3.5H-4.5z",
  "M-4.5 -1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
  "M-2 -4.5h4l3 4.5l-3 4.5h-4l-3 -4.5z",
  "M-4.5 0L3.5 -4.5V4.5z",
  "M4.5 0L-3.5 -4.5V4.5z",
];

/** The SVG file of some charts. */
export function chartsAsSvg(panels: readonly Panel[]): string {
  const [width, height] = [columns * cell.width, Math.ceil(panels.length / columns) * cell.height];
  const drawn = panels.map((panel, i) => {
    const [x, y] = [(i % columns) * cell.width + margin.left, Math.floor(i / columns) * cell.height + margin.top];
    return `<g transform="translate(${x} ${y})">${drawPanel(panel)}</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    ...drawn,
    "</svg>\n",
  ].join("\n");
}

/** From values to the places of a plot. */
interface Axes {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
  readonly xTicks: readonly number[];
  readonly yTicks: readonly number[];
}

function drawPanel(panel: Panel): string {
  const axes = axesOf(panel);
  const lines = panel.lines.map(({ points }, i) => {
    const places = points.map(({ x, y }) => [round(axes.x(x)), round(axes.y(y))]);
    const path = `<polyline points="${places.join(" ")}" fill="none" stroke="${colours[i]}" stroke-width="1.8"/>`;
    return path + places.map(([x, y]) => mark(i, x, y)).join("");
  });
  return [
    text(plot.width / 2, -16, panel.title, `text-anchor="middle" font-size="15" font-weight="bold"`),
    ...grid(axes),
    `<rect width="${plot.width}" height="${plot.height}" fill="none" stroke="#444"/>`,
    text(plot.width / 2, plot.height + 40, panel.xLabel, `text-anchor="middle"`),
    text(0, 0, panel.yLabel, `text-anchor="middle" transform="translate(-52 ${plot.height / 2}) rotate(-90)"`),
    ...guides(panel, axes),
    ...lines,
    legend(panel.lines),
  ].join("\n");
}

function axesOf({ lines }: Panel): Axes {
  const points = lines.flatMap((line) => line.points);
  const [xLog, yLog] = [points.map(({ x }) => Math.log2(x)), points.map(({ y }) => Math.log10(y))];
  const [left, right] = [Math.min(...xLog) - 0.25, Math.max(...xLog) + 0.25];
  const [bottom, top] = [Math.floor(Math.min(...yLog) - 0.4), Math.ceil(Math.max(...yLog) + 0.1)];
  return {
    x: (value) => ((Math.log2(value) - left) / (right - left)) * plot.width,
    y: (value) => ((top - Math.log10(value)) / (top - bottom)) * plot.height,
    xTicks: integers(Math.ceil(left), Math.floor(right)).map((power) => 2 ** power),
    yTicks: integers(bottom, top),
  };
}

function grid({ x, y, xTicks, yTicks }: Axes): string[] {
  const line = (x1: number, y1: number, x2: number, y2: number): string =>
    `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" stroke="#ddd"/>`;
  return [
    ...xTicks.flatMap((tick) => [
      line(x(tick), 0, x(tick), plot.height),
      text(x(tick), plot.height + 18, `${tick}`, `text-anchor="middle"`),
    ]),
    ...yTicks.flatMap((power) => {
      const place = y(10 ** power);
      const exponent = `<tspan dy="-5" font-size="9">${power < 0 ? `−${-power}` : power}</tspan>`;
      return [line(0, place, plot.width, place), text(-8, place + 4, `10${exponent}`, `text-anchor="end"`)];
    }),
  ];
}

/** Dashed lines of the slopes of the orders, with their names, from the middle of the plot to its right. */
function guides({ lines, orders }: Panel, { x, y }: Axes): string[] {
  const points = lines.flatMap((line) => line.points);
  const xs = points.map((point) => point.x);
  const to = Math.max(...xs);
  const from = Math.sqrt(Math.min(...xs) * to);
  return orders.map((order) => {
    const isAbove = order === Math.min(...orders);
    const right = points.filter((point) => point.x >= from);
    const constants = right.map((point) => point.y * point.x ** order);
    const constant = isAbove ? 2 * Math.max(...constants) : Math.min(...constants) / 2.5;
    const error = (calls: number): number => constant / calls ** order;
    const ends = `x1="${round(x(from))}" y1="${round(y(error(from)))}" x2="${round(x(to))}" y2="${round(y(error(to)))}"`;
    const middle = Math.sqrt(from * to);
    const label = isAbove
      ? text(x(middle) + 8, y(error(middle)) - 6, `order ${order}`, `fill="#666" font-style="italic"`)
      : text(
          x(middle) - 8,
          y(error(middle)) + 14,
          `order ${order}`,
          `fill="#666" font-style="italic" text-anchor="end"`,
        );
    return `<line ${ends} stroke="#888" stroke-width="1.2" stroke-dasharray="5 4"/>${label}`;
  });
}

/** Names of the lines, to the right of the plot. */
function legend(lines: readonly Line[]): string {
  const row = 21;
  const entries = lines.map(({ label }, i) => {
    const [x, y] = [plot.width + 14, 10 + i * row];
    const sample = `<line x1="${x}" y1="${y}" x2="${x + 24}" y2="${y}" stroke="${colours[i]}" stroke-width="1.8"/>`;
    return sample + mark(i, x + 12, y) + text(x + 31, y + 4, label);
  });
  return entries.join("");
}

function mark(i: number, x: number, y: number): string {
  return `<path d="${marks[i]}" transform="translate(${x} ${y})" fill="${colours[i]}"/>`;
}

/** Text at a place; `content` may hold elements of SVG. */
function text(x: number, y: number, content: string, attributes = ""): string {
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${content}</text>`;
}

function integers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/** A tenth of a pixel is enough, and keeps the file small. */
function round(value: number): number {
  return Math.round(value * 10) / 10;
}
