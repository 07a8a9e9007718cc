"""Entry points, one verb each."""
