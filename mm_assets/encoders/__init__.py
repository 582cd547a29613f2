"""One file per encoder; `networks/` holds the torch modules they build.

An encoder's name in `params.yaml` is the name of its file here. Importing such a file is light;
torch is imported when a network is built.
"""
