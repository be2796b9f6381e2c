"""A trained student as files that a robot's computer can run: StableHLO, ONNX, a manifest and a runner."""
