"""Finds segments: one file a model family. Each answers a view with full-size masks, whatever size the model saw."""
