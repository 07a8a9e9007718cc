"""The command line: entry.py, and a module a verb."""
