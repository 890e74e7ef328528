"""How a command says no: one line, an exit code, never a traceback."""


class Refused(Exception):  # noqa: N818  (what happens to the user, not an error of ours)
    """The message is the line. 2: asked wrongly; 1: asked well, and the answer is no."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code
