"""The record of what is committed under an output: whose it is, its commits, its end, and its checks."""
