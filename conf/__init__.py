"""The configs, as a package, so that an installed entry point finds them."""
