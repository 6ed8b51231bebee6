// A plan for which there is no memory says what it needs most, and in which layers.

import { expect } from "chai";
import { DeviceError, Linear, capture, noGrad, ones } from "langevin";
import { openDevice } from "../../ts/device/devices.ts";
import { failure } from "../failure.ts";
import { useDevice } from "../tensor/devices.ts";

describe("a plan without memory", () => {
  useDevice("ts");

  it("names the device's words, its arena and its largest results; with memory it runs", () => {
    const executor = openDevice("ts");
    const allocate = executor.allocate.bind(executor);
    const layer = new Linear(3, 1024);
    const x = ones([512, 3]);
    const plan = capture(() => noGrad(() => layer.forward(x).relu().mean()));
    const refused = new DeviceError({ op: "allocate", problem: "out of memory: there is none.", advice: "Ask less." });
    executor.allocate = (bytes) => {
      if (bytes >= 2 ** 21) throw refused;
      return allocate(bytes);
    };
    try {
      const error = failure(() => plan());
      expect(error).to.be.instanceOf(DeviceError);
      expect(error.cause).to.equal(refused);
      expect(error.message).to.match(
        /^allocate: out of memory: there is none\. The plan shares \d\.\d MiB among its results \(\d\.\d MiB one beside the other\); the largest: \w+ \[512, 1024\].*, 2\.0 MiB; .*\. Ask less\.$/,
      );
    } finally {
      executor.allocate = allocate;
    }
    expect(plan().item()).to.be.a("number");
  });
});
