"""Shows a run to people: a live progress line, a table at the end, and the report page."""
