"""Values of options that several commands share."""

from __future__ import annotations

import typer


def number(text: str | float) -> float:
    """A number with a decimal point or a decimal comma, as a ruler is read in most of Europe.

    >>> number("98,5"), number("262")
    (98.5, 262.0)
    """
    try:
        return float(str(text).replace(",", "."))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number; expected one such as 98.5") from None
