"""Multimodal models as a pipeline: contracts, embeddings, fusion, evidence and export."""

__version__ = "0.1.0"
