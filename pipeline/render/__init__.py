"""Turns a filled image into files: pastes, draws, encodes, and keeps its sidecars."""
