"""Text that came from outside, made fit for one line of a log or a terminal."""


def one_line(text: str) -> str:
    """Return the text with all that is not printable escaped: line ends, control and direction marks, lone surrogates.

    So nobody forges a line of ours.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
