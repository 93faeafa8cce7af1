"""Addresses in pages, found as a browser finds them: by a parser of HTML and one of CSS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import unescape
from xml.etree.ElementTree import Element

import html5lib
import tinycss2

FETCHED = {"src", "href", "srcset", "imagesrcset", "data", "poster", "background", "manifest"}
"""Attributes whose addresses a browser fetches to show a page; ``href`` of links to click is none of them."""

CLICKED = {"a", "area"}

INSIDE = re.compile(r"(?!//)(data:|blob:|about:|javascript:|(?![a-z][a-z0-9+.-]*:))")
"""An address that needs no network: relative, or with the content in itself."""


def outside_addresses(page: str) -> list[str]:
    """The addresses outside its folder that a browser would fetch to show ``page``; links to click do not count.

    The page's content security policy also blocks addresses that are not found here, such as those of scripts.

    >>> outside_addresses('<a href="https://a.org">A</a><img src="https://b.org/b.png"><i style="color: url(//c)">')
    ['https://b.org/b.png', '//c']
    """
    found: list[str] = []
    for element, name, value in _attributes(html5lib.parse(page)):
        if name == "srcdoc":
            found += outside_addresses(value)
        elif name == "style":
            found += _addresses_of_style(tinycss2.parse_component_value_list(value))
        elif name.endswith("srcset"):
            found += [candidate.split()[0] for candidate in value.split(",") if candidate.strip()]
        elif name == "content" and element.get("http-equiv", "").lower() == "refresh":
            found += re.findall(r"url\s*=\s*[\"']?([^\"']+)", value, re.IGNORECASE)
        elif name in FETCHED and _tag(element) not in CLICKED:
            found.append(value)
        elif name == "" and _tag(element) == "style":
            found += _addresses_of_style(tinycss2.parse_component_value_list(value))
    return [address for address in found if not INSIDE.match(_normal(address))]


def without_script_links(page: str) -> str:
    """``page``, a part of the body of a document, without attributes that run JavaScript when a link is clicked.

    >>> without_script_links('<a href="java&Tab;script:alert(1)">A</a>')
    '<a>A</a>'
    """
    if "javascript:" not in _normal(unescape(page)):
        return page
    fragment = html5lib.parseFragment(page)
    for element in fragment.iter():
        for key, value in list(element.attrib.items()):
            if key == "srcdoc":
                element.set(key, without_script_links(value))
            elif "javascript:" in _normal(value):
                del element.attrib[key]
    return html5lib.serialize(
        fragment, quote_attr_values="always", omit_optional_tags=False, alphabetical_attributes=False
    )


def _attributes(document: Element) -> Iterator[tuple[Element, str, str]]:
    """All attributes of a document without their namespaces; the name of an element's text is empty."""
    for element in document.iter():
        if isinstance(element.tag, str):  # no comment
            yield from ((element, key.rpartition("}")[2].lower(), value) for key, value in element.attrib.items())
            yield element, "", element.text or ""


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2].lower()


def _normal(address: str) -> str:
    """An address as a browser understands it."""
    return re.sub(r"[\x00-\x20\x7f]", "", address).replace("\\", "/").lower()


def _addresses_of_style(nodes: Iterable[tinycss2.ast.Node]) -> Iterator[str]:
    """The addresses in ``url()``, ``image-set()`` and the like and after ``@import``, also in nested blocks."""
    is_import = False
    for node in nodes:
        if node.type == "at-keyword":
            is_import = node.lower_value == "import"
        elif node.type == "url" or (node.type == "string" and is_import):
            yield node.value
        elif node.type == "function":
            if node.lower_name in ("url", "src", "image", "image-set", "-webkit-image-set"):
                yield from (inner.value for inner in node.arguments if inner.type == "string")
            yield from _addresses_of_style(node.arguments)
        elif node.type.endswith("block"):
            yield from _addresses_of_style(node.content)
        is_import = is_import and node != ";"
