"""Text that came from outside, made fit for one line of a log or a terminal."""

import re

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def one_line(text: str) -> str:
    """Return the text with line ends, control characters and lone surrogates escaped: nobody forges a line of ours."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)
