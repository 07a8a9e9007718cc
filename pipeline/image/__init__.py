"""Bytes to pixels and back to bytes that hold nothing else: headers, decoding, colour, views, masks, metadata."""
