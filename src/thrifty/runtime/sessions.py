"""ONNX files as functions of arrays, on a bounded number of threads."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thrifty.core.errors import StoreError


class Session:
    """One ONNX file, ready to run."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        if not path.is_file():
            raise StoreError(f"the model file {path} is not there; the folder is damaged")
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        faults = (
            state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoModel,
            state.NoSuchFile, state.NotImplemented, state.RuntimeException, RuntimeError,
        )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        except faults as error:
            raise StoreError(f"the model file {path} cannot be loaded: {str(error)[:300]}") from error
        self._path = path
        self._misfit = state.InvalidArgument
        self.inputs = tuple(item.name for item in self._session.get_inputs())
        self.outputs = tuple(item.name for item in self._session.get_outputs())

    def run(self, outputs: Sequence[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The named outputs for arrays of the types that the file declares. Raises StoreError for others."""
        try:
            found: list[Any] = self._session.run(outputs, feed)
        except self._misfit as error:
            raise StoreError(f"{self._path} does not take what the nodes before it give: {str(error)[:300]}") from error
        return found
