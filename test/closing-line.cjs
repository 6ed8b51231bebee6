// Mocha reporter: the usual specification, and after it one plain line of counts that a machine can read.
"use strict";

const { reporters, Runner } = require("mocha");

module.exports = class ClosingLine extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    // Spec prints its summary at the same event and was registered first, so this line is the last.
    runner.once(Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = this.stats;
      console.log(`${passes} passed, ${failures} failed${pending > 0 ? `, ${pending} skipped` : ""}`);
    });
  }
};
