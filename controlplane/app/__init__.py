"""The composition root: builds the parts, joins them, starts and stops them. No logic of its own."""
