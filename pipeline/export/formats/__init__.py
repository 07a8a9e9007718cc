"""One file a format: what an image and a unit become, and the documents around them."""
