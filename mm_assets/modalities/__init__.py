"""One file per kind of input: probe, decode, clean, augment, collate. Imports no torch.

Training and serving share this code to the letter. A kind's name in `params.yaml` is the name of
its file here.
"""
