// Lint rules: what the compiler cannot see and a reviewer should not have to.

import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

/** Every file opens with a sentence on what it is for. */
const openingComment = {
  meta: {
    type: "suggestion",
    messages: { missing: "The first line must be a comment that says what the file is for." },
  },
  create: (context) => ({
    Program(node) {
      const first = context.sourceCode.lines[0]?.startsWith("#!") ? 1 : 0;
      if (!/^\/[/*]/.test(context.sourceCode.lines[first] ?? "")) context.report({ node, messageId: "missing" });
    },
  }),
};

export default defineConfig(
  { ignores: ["dist/", "docs/api/", "build/", "build-*/", "coverage/", "runs/", "native/"] },
  js.configs.recommended,
  {
    plugins: { langevin: { rules: { "opening-comment": openingComment } } },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "langevin/opening-comment": "error",
      eqeqeq: "error",
      "no-console": "off",
      "no-restricted-properties": [
        "error",
        { object: "Math", property: "random", message: "Randomness comes from the seeded Philox stream." },
      ],
      "object-shorthand": "error",
      "prefer-const": "error",
    },
  },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/consistent-type-exports": "error",
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "separate-type-imports" }],
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-unnecessary-condition": "off", // needs noUncheckedIndexedAccess, which typed arrays defeat
      "@typescript-eslint/no-unsafe-argument": "off", // attributes of AnyOp are `any` on purpose
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/prefer-readonly": "error",
      "@typescript-eslint/require-await": "off", // interfaces promise what some implementations have at once
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/unbound-method": "off", // op records have methods that use no `this`
    },
  },
  {
    files: ["test/**/*.ts"],
    rules: { "@typescript-eslint/no-unused-expressions": "off" }, // chai: expect(x).to.be.true
  },
  {
    files: ["**/*.js", "**/*.mjs", "**/*.cjs"],
    languageOptions: {
      globals: {
        __dirname: "readonly",
        console: "readonly",
        module: "writable",
        process: "readonly",
        require: "readonly",
        URL: "readonly",
      },
    },
  },
);
