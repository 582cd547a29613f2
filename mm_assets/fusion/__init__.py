"""One file per way in which the modalities' vectors meet.

A fusion's name in `params.yaml` is the name of its file here.
"""
