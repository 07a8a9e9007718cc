"""What a person sees of a run: the live line (progress), the table at the end (summary), the page (page)."""
