"""Where results go: the masks, the index of images, and the rendered images."""
