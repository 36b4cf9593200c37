"""A scanned code, which never appears in a log."""


class CardToken:
    """A one-time credential. Its text is only used for the request itself."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Returns the text; it must never be logged."""
        return self._text

    def __repr__(self) -> str:
        return "CardToken(redacted)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self):
        raise TypeError("a card token cannot be stored")
