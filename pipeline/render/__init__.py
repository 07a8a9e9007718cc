"""A filled image to files: pasted, drawn, encoded, with its sidecars."""
