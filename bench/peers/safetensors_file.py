"""Reads and writes safetensors files of float32 and int32 with numpy alone: the format's own package is not needed."""
import json
import struct

import numpy

DTYPES = {"F32": "<f4", "I32": "<i4"}


def read(path):
    """All arrays of a file by their names."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = numpy.frombuffer(data[begin:end], DTYPES[entry["dtype"]])
        arrays[name] = array.reshape(entry["shape"]).copy()
    return arrays


def write(path, name, array):
    """A file with one float32 array."""
    data = numpy.ascontiguousarray(array, "<f4").tobytes()
    header = json.dumps({name: {"dtype": "F32", "shape": list(array.shape), "data_offsets": [0, len(data)]}}).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + data)
