"""Model families of the package transformers."""
