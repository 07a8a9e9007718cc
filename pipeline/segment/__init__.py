"""Segmenters: one file per model family. Each answers a view with full-size masks, at whatever size its model sees."""
