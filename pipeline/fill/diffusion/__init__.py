"""fill=diffusion: inpainting pipelines of diffusers."""
