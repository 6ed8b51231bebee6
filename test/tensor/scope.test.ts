// Scopes: what they free, what survives, and that live memory returns exactly to where it was.

import { expect } from "chai";
import type { Tensor } from "langevin";
import {
  Adam,
  ArgumentError,
  Conv2d,
  Linear,
  Parameter,
  linear,
  mse,
  noGrad,
  ones,
  randn,
  scope,
  tensor,
  zeros,
} from "langevin";
import { lend } from "../../ts/tensor/scope.ts";
import { failure } from "../failure.ts";
import type { LiveMemory } from "./devices.ts";
import { collectedDownTo, liveMemory, onEveryDevice, referencedMemory } from "./devices.ts";

/** Fails unless `run` leaves exactly the memory in use that it found. */
async function expectNothingLeft(run: () => unknown): Promise<void> {
  const before = await referencedMemory();
  await run();
  expect(await liveMemory()).to.deep.equal(before);
}

onEveryDevice("lend", () => {
  it("frees what was lent when the loan ends, and what was made on the way at once", async () => {
    const before = await referencedMemory();
    const loan = lend(() => [ones([2]).add(1), ones([3])]);
    expect((await liveMemory()).buffers).to.equal(before.buffers + 2);
    expect(loan.value.map((x) => x.toArray())).to.deep.equal([
      [2, 2],
      [1, 1, 1],
    ]);
    loan.end();
    expect(loan.value.map(({ disposed }) => disposed)).to.deep.equal([true, true]);
    loan.end();
    expect(await liveMemory()).to.deep.equal(before);
  });

  it("leaves what was kept, what was made outside, and what was disposed of before", async () => {
    const outside = ones([1]);
    const before = await referencedMemory();
    const loan = lend(() => ({ outside, kept: ones([2]), gone: ones([3]) }));
    loan.value.kept.keep();
    loan.value.gone.dispose();
    loan.end();
    expect([outside.disposed, loan.value.kept.disposed]).to.deep.equal([false, false]);
    loan.value.kept.dispose();
    expect(await liveMemory()).to.deep.equal(before);
  });

  it("is no part of the scope around it, and outlives it", () => {
    const loan = scope(() => [lend(() => ones([2]))])[0];
    expect(loan.value.disposed).to.equal(false);
    loan.end();
    expect(loan.value.disposed).to.equal(true);
  });

  it("frees everything when its function throws", async () => {
    await expectNothingLeft(() => {
      failure(() => lend(() => ones([2]).add(ones([3]))));
    });
    expect(scope(() => ones([1])).disposed).to.equal(false);
  });

  it("is found by the garbage collector when nobody ends it", async () => {
    const before = await referencedMemory();
    lend(() => ones([2]));
    expect(await collectedDownTo(before.buffers)).to.deep.equal(before);
  });
});

onEveryDevice("scope", () => {
  it("frees what is made in it", async () => {
    await expectNothingLeft(() => {
      scope(() => {
        const x = ones([10]).add(1);
        x.reshape([2, 5])
          .slice(0)
          .mul(x.slice([0, 5]))
          .sum()
          .item();
      });
    });
  });

  it("leaves what was made outside", () => {
    const x = ones([2]);
    scope(() => {
      x.add(1);
      expect(scope(() => x)).to.equal(x);
    });
    expect(x.toArray()).to.deep.equal([1, 1]);
  });

  it("returns a tensor, which survives", () => {
    const x = scope(() => ones([2]).add(1));
    expect([x.disposed, x.toArray()]).to.deep.equal([false, [2, 2]]);
  });

  it("returns tensors in Maps, Sets and objects that form a circle", () => {
    interface Node {
      readonly x: Tensor;
      next?: Node;
    }
    const { map, set, circle } = scope(() => {
      const first: Node = { x: tensor([1]) };
      first.next = { x: tensor([2]), next: first };
      const bare = Object.assign(Object.create(null), { x: tensor([5]) }) as Node;
      return { map: new Map([["a", [tensor([3])]]]), set: new Set([tensor([4]), bare]), circle: first };
    });
    const [four, bare] = [...set] as [Tensor, Node];
    const values = [circle.x, circle.next!.x, map.get("a")![0], four, bare.x].map((x) => x.item());
    expect(values).to.deep.equal([1, 2, 3, 4, 5]);
  });

  it("returns tensors in arrays and plain objects, however deep, and frees the others", () => {
    let other: Tensor | undefined;
    const result = scope(() => {
      other = ones([1]);
      return { a: tensor([1]), list: [tensor([2]), { deep: [tensor([3])] }], text: "x", nothing: null, number: 4 };
    });
    expect([result.a.item(), (result.list[0] as Tensor).item()]).to.deep.equal([1, 2]);
    expect((result.list[1] as { deep: Tensor[] }).deep[0].item()).to.equal(3);
    expect([result.text, result.nothing, result.number]).to.deep.equal(["x", null, 4]);
    expect(other!.disposed).to.equal(true);
  });

  it("hands what it returns to the scope around it", async () => {
    await expectNothingLeft(() => {
      scope(() => {
        const inner = scope(() => ({ x: ones([3]) }));
        expect(inner.x.disposed).to.equal(false);
      });
    });
    let inner: Tensor | undefined;
    scope(() => {
      inner = scope(() => ones([3]));
      scope(() => zeros([3]));
      expect(inner.item.bind(inner.slice(0))()).to.equal(1);
    });
    expect(inner!.disposed).to.equal(true);
  });

  it("lets go of what is kept", () => {
    let kept: Tensor | undefined;
    scope(() =>
      scope(() => {
        kept = ones([3]).keep();
        return 1;
      }),
    );
    expect(kept!.toArray()).to.deep.equal([1, 1, 1]);
    kept!.dispose();
  });

  it("frees what was made before an error, and passes the error on", async () => {
    await expectNothingLeft(() => {
      const error = failure(() =>
        scope(() => {
          ones([4]);
          scope(() => ones([5]).add(ones([6])));
        }),
      );
      expect(error.message).to.match(/^add: shapes \[5\] and \[6\]/);
    });
    expect(ones([1]).disposed).to.equal(false); // no scope is left open
  });

  it("does not mind tensors that are disposed in it", () => {
    scope(() => {
      const x = ones([2]);
      x.dispose();
      return x;
    });
    expect(scope(() => ones([2])).toArray()).to.deep.equal([1, 1]);
  });

  it("does not free parameters and layers that are made in it", () => {
    const layer = scope(() => {
      new Linear(2, 2);
      return new Linear(1, 1);
    });
    expect(layer.weight.disposed).to.equal(false);
    let parameter: Parameter | undefined;
    scope(() => {
      parameter = new Parameter(ones([1]));
    });
    expect(parameter!.item()).to.equal(1);
  });

  it("leaves nothing of a parameter that is refused", async () => {
    await expectNothingLeft(() => {
      const values = tensor([1], { dtype: "int32" });
      expect(failure(() => new Parameter(values)).message).to.match(/^Parameter: int32 values have no gradient/);
      values.dispose();
    });
  });

  it("does not free gradients of leaves that outlive it", () => {
    const weight = new Parameter(tensor([3]));
    scope(() => {
      weight.square().sum().backward();
    });
    expect(weight.grad!.item()).to.equal(6);
  });

  it("frees a tensor although a view of it survives", async () => {
    const before = await referencedMemory();
    const view = scope(() => ones([4, 2]).slice([1, 3]));
    expect((await liveMemory()).buffers).to.equal(before.buffers + 1);
    expect(view.toArray()).to.deep.equal([
      [1, 1],
      [1, 1],
    ]);
    view.dispose();
    expect(await liveMemory()).to.deep.equal(before);
  });

  it("refuses an asynchronous function, and frees what it made", async () => {
    await expectNothingLeft(() => {
      const error = failure(() =>
        scope(async () => {
          ones([7]);
          await Promise.resolve();
          throw new Error("must not become an unhandled rejection");
        }),
      );
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.equal(
        "scope: the function returned a promise. Pass a synchronous function; await outside of scope.",
      );
    });
  });
});

onEveryDevice("noGrad", () => {
  it("returns the function's result, and refuses a promise", () => {
    expect(noGrad(() => 5)).to.equal(5);
    const error = failure(() => noGrad(() => Promise.resolve(1)));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal(
      "noGrad: the function returned a promise. Pass a synchronous function; await outside of noGrad.",
    );
    expect(new Parameter(ones([1])).mul(2).requiresGrad).to.equal(true);
  });
});

onEveryDevice("using", () => {
  it("leaves nothing behind: operations make no tensors that nobody sees", async () => {
    await expectNothingLeft(() => {
      using weight = ones([2, 2]).requireGrad();
      using row = weight.slice(1);
      using y = linear(row, weight);
      using z = y.div(2);
      using error = mse(z, y, { reduction: "none" });
      using loss = error.sum();
      loss.backward();
    });
  });

  it("frees at the end of the block, also after an error", async () => {
    await expectNothingLeft(() => {
      using x = ones([3]);
      using y = x.add(1);
      expect(y.toArray()).to.deep.equal([2, 2, 2]);
    });
    let seen: Tensor | undefined;
    failure(() => {
      using x = ones([3]);
      seen = x;
      throw new Error("stop");
    });
    expect(seen!.disposed).to.equal(true);
  });
});

onEveryDevice("live memory", () => {
  /** A small model with everything that a training step touches. */
  function trainer() {
    const [conv, linear] = [new Conv2d(1, 4, 3, { padding: 1 }), new Linear(4, 2)];
    const adam = new Adam([...conv.parameters(), ...linear.parameters()]);
    const loss = (): Tensor => {
      const x = randn([2, 5, 5, 1], { seed: 4 });
      const y = linear.forward(conv.forward(x).relu().mean([1, 2]));
      return mse(y, zeros([2, 2]));
    };
    return { conv, linear, adam, loss };
  }

  it("returns after steps of forward, backward and optimizer", async () => {
    const { adam, loss } = trainer();
    const step = (): void => {
      scope(() => {
        loss().backward();
        adam.step();
      });
    };
    step();
    await expectNothingLeft(() => {
      for (let i = 0; i < 20; i++) step();
    });
  });

  it("returns after accumulating several backwards", async () => {
    const { adam, loss } = trainer();
    await expectNothingLeft(() => {
      for (let i = 0; i < 5; i++) {
        for (let k = 0; k < 3; k++)
          scope(() => {
            loss().backward();
          });
        adam.step();
      }
    });
  });

  it("returns after graphs that are never walked back", async () => {
    const { loss } = trainer();
    await expectNothingLeft(() => {
      for (let i = 0; i < 3; i++)
        scope(() => {
          loss();
        });
    });
  });

  it("returns when a result is disposed, which frees the whole graph under it", async () => {
    const { loss } = trainer();
    await expectNothingLeft(() => {
      const result = scope(loss);
      result.dispose();
    });
  });

  it("goes down as backward goes: a walked graph holds nothing but its result", async () => {
    const { adam, loss } = trainer();
    scope(() => {
      loss().backward();
      adam.step();
    });
    const before = await referencedMemory();
    const result = scope(loss);
    expect((await liveMemory()).buffers).to.be.greaterThan(before.buffers + 1);
    result.backward();
    expect((await liveMemory()).buffers).to.equal(before.buffers + 1);
    result.dispose();
    expect(await liveMemory()).to.deep.equal(before);
  });

  it("returns after an error inside a step", async () => {
    const { adam, loss } = trainer();
    for (const fail of [
      () => {
        loss().backward();
        adam.step();
        ones([2]).add(ones([3]));
      },
      () => {
        const l = loss();
        l.backward();
        l.backward();
      },
      () => {
        const l = loss();
        loss().backward();
        adam.step();
        l.backward();
      },
    ]) {
      failure(() => scope(fail)); // the first time packs gradients
      adam.zeroGrad();
      await expectNothingLeft(() => {
        failure(() => scope(fail));
        adam.zeroGrad();
      });
    }
  });

  it("returns when model and optimizer are disposed", async () => {
    let before: LiveMemory | undefined;
    for (const order of [0, 1]) {
      before = await referencedMemory();
      const { conv, linear, adam, loss } = trainer();
      scope(() => {
        loss().backward();
        adam.step();
        loss().backward();
      });
      const models = () => {
        conv.dispose();
        linear.dispose();
      };
      if (order === 0) models();
      adam.dispose();
      if (order === 1) models();
      expect(await liveMemory(), order === 0 ? "model first" : "optimizer first").to.deep.equal(before);
    }
  });

  it("returns when a model without optimizer is disposed, with its gradients", async () => {
    await expectNothingLeft(() => {
      const layer = new Linear(3, 2);
      scope(() => {
        layer
          .forward(ones([1, 3]))
          .sum()
          .backward();
      });
      layer.dispose();
    });
  });
});
