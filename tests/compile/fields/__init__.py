"""A line for every field there is: a document in which it counts, and a value that must make a difference."""
