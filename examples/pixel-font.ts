// Words as pixels: a font of capitals, digits and a few signs, each 5 pixels wide and 7 high.

/** Rows from the top, each a digit to the base of 32 whose bits are the pixels from the left. */
const glyphs: Readonly<Record<string, string>> = {
  ...{ A: "ehhvhhh", B: "uhhuhhu", C: "ehggghe", D: "uhhhhhu", E: "vgguggv", F: "vgguggg", G: "ehgnhhf", H: "hhhvhhh" },
  ...{ I: "e44444e", J: "72222ic", K: "hikokih", L: "ggggggv", M: "hrllhhh", N: "hhpljhh", O: "ehhhhhe", P: "uhhuggg" },
  ...{ Q: "ehhhlid", R: "uhhukih", S: "fgge11u", T: "v444444", U: "hhhhhhe", V: "hhhhha4", W: "hhhllla", X: "hha4ahh" },
  ...{ Y: "hhha444", Z: "v1248gv", " ": "0000000", "+": "044v440", "-": "000v000", ".": "00000cc", "%": "op248j3" },
  ...{ 0: "ehjlphe", 1: "4c4444e", 2: "eh1248v", 3: "v2421he", 4: "26aiv22", 5: "vgu11he", 6: "68guhhe", 7: "v124888" },
  ...{ 8: "ehhehhe", 9: "ehhf12c" },
};

const [glyphWidth, glyphHeight] = [5, 7];

/** Pixels from one line to the next at enlargement 1. */
export const lineHeight = glyphHeight + 2;

/** Width of a text in pixels at enlargement 1. */
export function textWidth(text: string): number {
  return text.length * (glyphWidth + 1) - 1;
}

/** The inked pixels of a text, as [row, column] from its top left corner. Lower case is written as capitals. */
export function* inkOf(text: string): Generator<readonly [row: number, column: number]> {
  for (const [k, letter] of Array.from(text.toUpperCase()).entries()) {
    const rows = glyphs[letter];
    if (rows === undefined) throw new RangeError(`The font has no "${letter}", which is in "${text}".`);
    for (let row = 0; row < glyphHeight; row++)
      for (let column = 0; column < glyphWidth; column++)
        if ((parseInt(rows[row], 32) >> (glyphWidth - 1 - column)) & 1) yield [row, k * (glyphWidth + 1) + column];
  }
}
