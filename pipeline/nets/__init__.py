"""Packed torch: many networks trained together. Must not know tables.

Every tensor of a pack has a leading member axis; a training step is a few batched matrix products.
"""
