"""The embedded sample: made-up customers' messages to a service desk, with a known answer."""

from mm_assets.sources.sample.generate import generate_sample

__all__ = ["generate_sample"]
