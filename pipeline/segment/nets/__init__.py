"""Our own torch modules, and networks that come along as ONNX files."""
