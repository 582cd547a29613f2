"""One file per kind of target: its head, loss, metrics and ONNX output.

A kind's name in `params.yaml` is the name of its file here.
"""
