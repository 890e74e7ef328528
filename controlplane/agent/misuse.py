"""What the user is told in one line."""


class Misuse(Exception):  # noqa: N818  (the user's, told in one line)
    """What was said cannot be meant so."""
