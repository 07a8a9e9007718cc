"""Takes the committed tables of an output out into the formats of other tools, without a model."""
