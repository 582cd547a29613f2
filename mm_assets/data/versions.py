"""Versions of the libraries that decide what a decoded sample is."""

from __future__ import annotations

from importlib import metadata

# What decodes each kind; a new version may decode to other values, so stored vectors must not be
# mixed across versions.
DECODERS = {
    "text": ("tokenizers",),
    "image": ("pillow",),
    "audio": ("av",),
    "features": ("numpy",),
    "tabular": ("numpy",),
}


def decoding_versions(kind: str) -> dict[str, str]:
    """Name the installed version of each library that decodes `kind`."""
    return {name: metadata.version(name) for name in DECODERS[kind]}
