"""Shared by segmenters: runners of networks, sliding windows, maps of classes, boxes, preprocessing, field types."""
