// Programs that must not compile. What stands in quotes after a directive is a part of the compiler's words.

import type { Parameter, Tensor } from "langevin";
import {
  Adam,
  AdamW,
  AvgPool2d,
  Conv2d,
  ConvTranspose2d,
  Dropout,
  Embedding,
  GELU,
  GroupNorm,
  LayerNorm,
  Linear,
  Module,
  MultiHeadAttention,
  RMSNorm,
  RMSprop,
  SGD,
  Sequential,
  SiLU,
  UNet2D,
  Upsample,
  draws,
  mse,
  tensor,
} from "langevin";

declare const x: Tensor;
declare const parameters: Parameter[];
declare const either: 3 | 4;

// ---- channels in a row ------------------------------------------------------------------------------------------------

// @ts-expect-error "takes 32 channels, but the layers before it give 16"
new Sequential(new Conv2d(3, 16, 3), new SiLU(), new Conv2d(32, 3, 3));

// @ts-expect-error "'Conv2d<32, 3>' is not assignable" -- the layer that does not fit is named
new Sequential(new Conv2d(3, 16, 3), new Conv2d(32, 3, 3), new Conv2d(3, 3, 1));

// @ts-expect-error "takes 8 channels, but the layers before it give 16" -- also behind layers that fit
new Sequential(new Conv2d(3, 16, 3), new Conv2d(16, 16, 3), new Dropout(), new ConvTranspose2d(8, 3, 2));

// @ts-expect-error "takes 8 channels, but the layers before it give 16" -- a norm has channels, a pooling passes them on
new Sequential(new Conv2d(3, 16, 3), new AvgPool2d(2), new GroupNorm(4, 8));

// @ts-expect-error "takes 32 channels, but the layers before it give 16" -- a size that is normalised is one of channels
new Sequential(new Conv2d(3, 16, 3), new LayerNorm(32));
// @ts-expect-error "takes 32 channels, but the layers before it give 16" -- the last of several, since channels come last
new Sequential(new Conv2d(3, 16, 3), new LayerNorm([16, 16, 32]));
// @ts-expect-error "takes 8 channels, but the layers before it give 16" -- and it is given on
new Sequential(new RMSNorm([4, 16]), new SiLU(), new Linear(8, 3));
// @ts-expect-error "takes 8 channels, but the layers before it give 16"
new Sequential(new Linear(3, 16), new RMSNorm(8, { affine: false }));
// @ts-expect-error "not assignable" -- sizes are numbers
new LayerNorm("16");

// @ts-expect-error "takes 8 channels, but the layers before it give 16" -- and behind other sizes
new Sequential(new Conv2d(3, 16, 3), new Upsample({ scale: 2 }), new Conv2d(8, 3, 3));

// @ts-expect-error "'number' is not assignable to type 'undefined'" -- a size or a scale, not both
new Upsample({ size: 8, scale: 2 });

// @ts-expect-error "takes 10 channels, but the layers before it give 20" -- features are channels, too
new Sequential(new Linear(5, 20), new SiLU(), new Linear(10, 1));

// @ts-expect-error "takes 16 channels, but the layers before it give 8"
new Sequential(new Embedding(1000, 8), new Linear(16, 16));

// @ts-expect-error "takes 8 channels, but the layers before it give 16"
new Sequential(new Linear(3, 16), new MultiHeadAttention(8, 2));
// @ts-expect-error "takes 32 channels, but the layers before it give 16" -- attention gives what it takes
new Sequential(new Conv2d(3, 16, 3), new MultiHeadAttention(16, 4), new Conv2d(32, 3, 3));

const inner = new Sequential(new SiLU(), new Conv2d(4, 16, 3), new SiLU());
// @ts-expect-error "takes 4 channels, but the layers before it give 3" -- a chain takes what its layers take
new Sequential(new Conv2d(1, 3, 3), inner);
// @ts-expect-error "takes 3 channels, but the layers before it give 16" -- and gives what they give
new Sequential(inner, new Conv2d(3, 1, 3));

// @ts-expect-error "takes 4 channels, but the layers before it give 16" -- none of several numbers fits
new Sequential(inner, new Conv2d(either, 1, 3));

// ---- layers -------------------------------------------------------------------------------------------------------------

// @ts-expect-error a function is no layer
new Sequential(new Conv2d(3, 16, 3), (h: Tensor) => h.relu());

class Conditioned extends Module {
  forward(h: Tensor, time: Tensor): Tensor {
    return h.add(time);
  }
}
// @ts-expect-error a layer in a row takes one tensor
new Sequential(new Conditioned());

// @ts-expect-error a layer in a row is replaced by making another row
new Sequential(new SiLU())[0] = new SiLU();

// @ts-expect-error "Cannot assign to 'inChannels'" -- weights do not change their shape
new Conv2d(3, 16, 3).inChannels = 3;

// @ts-expect-error a kernel has two sizes
new Conv2d(3, 16, [3, 3, 3]);

// @ts-expect-error "'strides' does not exist"
new Conv2d(3, 16, 3, { strides: 2 });

// @ts-expect-error "Type 'Conv2d<3, 16>' is not assignable to type 'Conv2d<3, 8>'"
const narrow: Conv2d<3, 8> = new Conv2d(3, 16, 3);
void narrow;

// @ts-expect-error a module has a forward
class Empty extends Module {}
void Empty;

// ---- optimizers ---------------------------------------------------------------------------------------------------------

// @ts-expect-error "'learningRate' does not exist"
new Adam(parameters, { learningRate: 1e-3 });

// @ts-expect-error "'decoupled' does not exist" -- that is AdamW
new Adam(parameters, { decoupled: true });

// @ts-expect-error two moments have two betas
new AdamW(parameters, { betas: [0.9] });

// @ts-expect-error options of another optimizer
new RMSprop(parameters, { nesterov: true });

// @ts-expect-error a group has parameters
new SGD([{ lr: 0.1 }]);

// @ts-expect-error "Type 'string' is not assignable to type 'LearningRate | undefined'"
new SGD([{ parameters, lr: "0.1" }]);

// @ts-expect-error plain tensors are not trained
new SGD([x]);

// @ts-expect-error "read-only" -- of a group, the learning rate alone may be changed
new SGD(parameters).groups[0].momentum = 0.5;

// ---- literal options ----------------------------------------------------------------------------------------------------

// @ts-expect-error an enumeration
mse(x, x, { reduction: "average" });

// @ts-expect-error an approximation that does not exist
new GELU({ approximate: "sigmoid" });

// @ts-expect-error a dtype that does not exist
tensor([1], { dtype: "float16" });

// @ts-expect-error a device that does not exist
tensor([1], { device: "gpu" });

// @ts-expect-error neither dtype nor device
x.to("half");

// @ts-expect-error the enumeration of draws is permanent
draws.weights = 3;

// ---- UNet2D -----------------------------------------------------------------------------------------------------------

// @ts-expect-error "'"CrossAttnDownBlock2D"' is not assignable to type 'DownBlockType'"
new UNet2D({ downBlockTypes: ["CrossAttnDownBlock2D"] });
// @ts-expect-error "'"DownBlock2D"' is not assignable to type 'UpBlockType'" -- down is not up
new UNet2D({ upBlockTypes: ["DownBlock2D"] });
// @ts-expect-error "'down_block_types' does not exist" -- keys of the file are for fromConfig
new UNet2D({ down_block_types: ["DownBlock2D"] });
// @ts-expect-error "'"elu"' is not assignable"
new UNet2D({ actFn: "elu" });
// @ts-expect-error "'2' is not assignable to type '0 | 1"
new UNet2D({ downsamplePadding: 2 });
// @ts-expect-error "'"ddpm-cifar"' is not assignable"
UNet2D.preset("ddpm-cifar");
// @ts-expect-error "'downBlockTypes' does not exist" -- the file has its own keys
new UNet2D().config().downBlockTypes;
// @ts-expect-error "'number' is not assignable to type 'Tensor'" -- labels are a tensor
new UNet2D().forward(x, 3, { classLabels: 4 });
