# Writes small.onnx with the onnx package (1.23.1): what test/io/onnx/model.test.ts expects to write, byte for byte.

import numpy as np
from onnx import TensorProto, checker, helper

weight = np.array([[1.5, -2.0, 0.0], [0.25, 3.0, -0.5]], dtype=np.float32)
tensors = [
    helper.make_tensor("weight", TensorProto.FLOAT, [2, 3], weight.tobytes(), raw=True),
    helper.make_tensor("axes", TensorProto.INT64, [2], np.array([-1, 300], dtype=np.int64).tobytes(), raw=True),
    helper.make_tensor("mask", TensorProto.BOOL, [], np.array(True).tobytes(), raw=True),
]
nodes = [
    helper.make_node("Gemm", ["x", "weight", ""], ["product"], name="first", transB=0, alpha=0.5),
    helper.make_node("Made", ["product"], ["y"], name="second", perm=[1, -1, 200], mode="linear"),
]
graph = helper.make_graph(
    nodes,
    "small",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
    [helper.make_tensor_value_info("y", TensorProto.INT32, [])],
    tensors,
)
model = helper.make_model(graph, producer_name="langevin", opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
with open("small.onnx", "wb") as file:
    file.write(model.SerializeToString())
