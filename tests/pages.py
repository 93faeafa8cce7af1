"""Runs that leave a report, and checks of its pages."""

from pathlib import Path
from urllib.parse import unquote

import html5lib
import pandas as pd
from html5lib.html5parser import ParseError
from PIL import Image

from p2vtools.study.metrics_csv import METRICS
from p2vtools.study.notebook_run import NotebookRun, begin

HOSTILE = 'A "hostile" <script>alert(1)</script> & caption'


def metrics(notebook: str = "03", **values) -> pd.DataFrame:
    """One row of metrics."""
    row = {
        **{"notebook": notebook, "model": "pix2vox-f-narrow", "variant": "main", "training": "objects"},
        **{"dataset": "objects", "look": "studio", "cameras": "none", "placement": "true", "taxonomy": "02691156"},
        **{"subject": "007", "sample": "007-a", "views": 4, "order": "clockwise", "threshold": 0.3},
        **{"selected": True, "iou": 0.5, **values},
    }
    return pd.DataFrame([row])[list(METRICS)]


def complete_run(notebook: str, answer: str = "It is **0.5**.", scale: str = "quick", name: str = "a b") -> NotebookRun:
    """A complete small run of one notebook, with a figure, a table and metrics."""
    run = begin(notebook, f"Notebook {notebook}", scale=scale)
    picture = run.folder / "figures" / f"{notebook}-{name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), "white").save(picture)
    run.figures.append({"file": f"figures/{picture.name}", "caption": HOSTILE, "cell": 7})
    run.save_table(pd.DataFrame({"model": ["a<b"], "iou": [0.123456], "slides": ["0.2923"]}), "t", HOSTILE)
    run.save_metrics(metrics(notebook).drop(columns="notebook"))
    run.answer(answer)
    return run


class Page:
    """A page: its text, and the attributes of its elements."""

    def __init__(self, content: str) -> None:
        self.tree = html5lib.parse(content, namespaceHTMLElements=False)
        self.text = "".join(self.tree.itertext())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [element.attrib for element in self.tree.iter(tag)]


def check_page(page: Path, report: Path) -> None:
    """Parses ``page`` strictly and follows its addresses: all exist, within the folder ``report``."""
    try:
        tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page.read_text(encoding="utf-8"))
    except ParseError as error:
        raise AssertionError(f"{page}: {error}") from error
    elements = list(tree.iter())
    ids = [element.get("id") for element in elements if element.get("id")]
    assert len(ids) == len(set(ids)), f"{page}: duplicate id"
    assert tree.get("lang") == "en" and tree.find(".//title").text
    assert len(tree.findall(".//h1")) == 1, f"{page}: expected exactly one h1"
    assert {part.tag for part in tree.find("body")} <= {"header", "main", "script"}, f"{page}: content outside main"
    for picture in tree.findall(".//img"):
        assert picture.get("alt") is not None, f"{page}: a picture without alternative text"
    for frame in tree.findall(".//iframe"):
        assert frame.get("title"), f"{page}: a frame without a title"
    for element in elements:
        for name in ("src", "href", "data", "poster"):
            if (address := element.get(name)) and not address.startswith("data:"):
                _check_address(address, page, report, ids)


def _check_address(address: str, page: Path, report: Path, ids: list[str]) -> None:
    file, _, anchor = address.partition("#")
    assert ":" not in file and not file.startswith("/"), f"{page}: {address} leads outside"
    target = (page.parent / unquote(file)).resolve() if file else page
    assert target.is_relative_to(report.resolve()), f"{page}: {address} leads outside {report}"
    assert target.is_file(), f"{page}: {address} does not exist"
    assert file or anchor in ids, f"{page}: no element has the id of {address}"
