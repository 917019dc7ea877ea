"""Printable text: whatever a terminal or a log could take for more than text, escaped.

Owns: nothing else; apart from `spooler.log`, whose library takes its time, for commands that log nothing.
"""


def printable(text: str) -> str:
    """Return a text with whatever a terminal or a log could take for more than text escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
