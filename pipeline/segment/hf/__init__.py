"""Families of transformers."""
