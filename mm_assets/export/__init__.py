"""The trained model as one ONNX file, and the proof that it answers alike."""
