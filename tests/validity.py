"""What every page has to be: valid HTML that names each thing once and says what its pictures show."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import html5lib
from html5lib.html5parser import ParseError

SHOWN = ("src", "href", "data", "poster")


def checked(page: Path, report: Path) -> None:
    """Parses ``page`` strictly, and follows its addresses: all within the folder ``report``, and there."""
    try:
        tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page.read_text())
    except ParseError as error:
        raise AssertionError(f"{page}: {error}") from error
    every = list(tree.iter())
    ids = [element.get("id") for element in every if element.get("id")]
    assert len(ids) == len(set(ids)), f"{page}: an id stands twice"
    assert tree.get("lang") == "en" and tree.find(".//title").text
    assert len(tree.findall(".//h1")) == 1, f"{page}: not one heading above all"
    assert {part.tag for part in tree.find("body")} <= {"header", "main", "script"}, f"{page}: text beside its main"
    for picture in tree.findall(".//img"):
        assert picture.get("alt") is not None, f"{page}: a picture without words"
    for frame in tree.findall(".//iframe"):
        assert frame.get("title"), f"{page}: a frame without a title"
    for element in every:
        for name in SHOWN:
            if address := element.get(name):
                _followed(address, page, report, ids)


def _followed(address: str, page: Path, report: Path, ids: list[str]) -> None:
    if address.startswith("data:"):
        return
    file, _, anchor = address.partition("#")
    assert ":" not in file and not file.startswith("/"), f"{page}: {address} leads outside"
    target = (page.parent / unquote(file)).resolve() if file else page
    assert target.is_relative_to(report.resolve()), f"{page}: {address} leads outside {report}"
    assert target.is_file(), f"{page}: {address} is not there"
    assert file or anchor in ids, f"{page}: {address} leads nowhere"
