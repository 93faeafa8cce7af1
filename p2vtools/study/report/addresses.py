"""Addresses in pages, found by a parser of HTML as a browser finds them."""

from __future__ import annotations

import re

import html5lib

FETCHED = {"src", "href", "data", "poster"}
"""Attributes whose addresses a browser fetches to show a page; ``href`` of links to click is none of them."""

CLICKED = {"a", "area"}

OUTSIDE = re.compile(r"\s*([a-z]+:)?//", re.IGNORECASE)


def outside_addresses(page: str) -> list[str]:
    """The addresses outside its folder that elements of ``page`` and of its frames would fetch.

    The page's content security policy also blocks addresses that are not found here, such as those of styles and
    scripts.

    >>> outside_addresses('<a href="https://a.org">A</a><img src="https://b.org/b.png"><img src="b.png">')
    ['https://b.org/b.png']
    """
    found: list[str] = []
    for element in html5lib.parse(page).iter():
        for key, value in element.attrib.items():  # names of elements and attributes may have a namespace
            name = key.rpartition("}")[2]
            if name == "srcdoc":
                found += outside_addresses(value)
            elif name in FETCHED and element.tag.rpartition("}")[2] not in CLICKED and OUTSIDE.match(value):
                found.append(value)
    return found
