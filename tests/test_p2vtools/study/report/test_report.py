"""Pages of small runs: what they show, what they lead to, what they refuse."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from p2vlib.evaluation.metrics_csv import COLUMNS, METRICS
from p2vtools.__main__ import main
from p2vtools.study import report
from p2vtools.study.notebook_run import NotebookRun, begin, part_of_metrics
from p2vtools.study.report import size_limits
from p2vtools.study.report.markup import prose, table
from tests.validity import checked

HOSTILE = 'A "hostile" <script>alert(1)</script> & caption'


def metrics(notebook: str = "03", **facts) -> pd.DataFrame:
    row = {
        **{"notebook": notebook, "model": "pix2vox-f-narrow", "variant": "main", "training": "objects"},
        **{"dataset": "objects", "look": "studio", "cameras": "none", "placement": "true", "taxonomy": "02691156"},
        **{"subject": "007", "sample": "007-a", "views": 4, "order": "clockwise", "threshold": 0.3},
        **{"selected": True, "iou": 0.5, **facts},
    }
    return pd.DataFrame([row])[list(METRICS)]


def finish(home: Path, notebook: str, answer: str = "It is **0.5**.", scale: str = "quick") -> NotebookRun:
    """A whole small run of one notebook."""
    run = begin(notebook, f"Notebook {notebook}", scale=scale)
    picture = run.folder / "figures" / f"{notebook}-a b.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), "white").save(picture)
    run.figures.append({"file": f"figures/{picture.name}", "caption": HOSTILE})
    run.save_table(pd.DataFrame({"model": ["a<b"], "iou": [0.123456], "slides": ["0.2923"]}), "t", HOSTILE)
    run.save_metrics(metrics(notebook).drop(columns="notebook"))
    run.answer(answer)
    return run


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and whether every tag is closed."""

    VOID = ("meta", "img", "br", "link", "hr", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.words += "\n" if tag in ("td", "th", "caption") else ""

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def folder(home: Path) -> Path:
    """The report of two notebooks, one of them with a page of what it ran."""
    finish(home, "03", answer=f"**Yes** {HOSTILE} [out](https://example.org) ![p](https://example.org/p.png)")
    finish(home, "04")
    folder = home / "reports" / "quick"
    (folder / "html").mkdir()
    (folder / "html" / "03.html").write_text("<p>executed</p>")
    report.build("quick")
    return folder


@pytest.fixture
def page(folder: Path) -> Page:
    """The page of notebook 03."""
    return Page((folder / "03.html").read_text())


@pytest.fixture
def index(folder: Path) -> Page:
    return Page((folder / "index.html").read_text())


def test_every_page_is_valid_and_stays_in_its_folder(folder: Path):
    pages = sorted(path.name for path in folder.glob("*.html"))
    assert pages == ["03.html", "04.html", "index.html", "published.html"]
    for name in pages:
        checked(folder / name, folder)


def test_the_committed_report_is_valid_and_small():
    committed = Path(__file__).parents[4] / "reports"
    for path in [*(committed / "quick").glob("*.html"), committed / "evaluate" / "index.html"]:
        checked(path, path.parent)
    for kept in (committed / "quick", committed / "evaluate"):
        size_limits.check_sizes(kept)
    made_anew = {committed / "quick" / name for name in ("executed", "html")}
    kept = [file for file in (committed / "quick").rglob("*") if file.is_file() and not made_anew & {*file.parents}]
    assert sum(file.stat().st_size for file in kept) < 60e6


def test_pages_lead_to_each_other_and_to_all_files(folder: Path, page: Page, index: Page):
    def addresses(of: Page) -> list[str]:
        return [link["href"] for link in of.all("a")]

    assert {"03.html", "04.html", "html/03.html", "published.html", "metrics.csv", "config.json"} <= {*addresses(index)}
    assert {"index.html", "04.html", "html/03.html", "parts/03.config.json", "tables/03-t.csv"} <= {*addresses(page)}
    other = addresses(Page((folder / "04.html").read_text()))
    assert "03.html" in other and "html/04.html" not in other, "what is not there is not linked"


def test_pictures_have_words_and_sizes(page: Page, index: Page):
    (picture,) = page.all("img")
    assert picture["alt"] == HOSTILE and (picture["width"], picture["height"]) == ("30", "20")
    assert [picture["alt"] for picture in index.all("img")] == [HOSTILE, HOSTILE]


def test_tables_have_captions_and_scopes(page: Page):
    headers = page.all("th")
    assert headers and all(header.get("scope") in ("col", "row") for header in headers)
    assert len(page.all("caption")) == len(page.all("table")) == 1


def test_hostile_text_stays_text(page: Page):
    assert len(page.all("script")) == 1, "its own"
    assert page.words.count("<script>alert(1)</script>") == 3


def test_answers_keep_their_emphasis(page: Page):
    assert len(page.all("strong")) == 1
    assert "<em>x</em>" in prose("*x*") and "<img" not in prose("![p](q.png)") and "<a" not in prose("<http://x.org>")


def test_the_summary_says_what_ran_where_and_how_long(index: Page):
    for fact in ("100/15/40 people", "2 notebooks at scale quick", "GiB at most", "commit unknown", "cores"):
        assert fact in index.words, fact
    assert "not a result" not in index.words
    assert index.words.index("those of a course of 2021") < index.words.index("What was run")


def test_the_slides_numbers_have_a_page(folder: Path):
    words = Page((folder / "published.html").read_text()).words
    for number in ("0.2923", "0.3225", "0.6607", "0.5666", "1357", "0.269"):
        assert number in words, number


def test_minutes_of_the_whole_study_count_the_data(home: Path):
    run = finish(home, "03")
    (run.folder / "study.json").write_text(json.dumps({"minutes_of": {"data": 10.25, "03": 4.5}}))
    words = Page(report.build("quick").read_text()).words
    assert "14.7 minutes in all" in words and "10.2" in words


def test_every_page_of_a_smoke_run_says_so(home: Path):
    run = finish(home, "03", scale="smoke")
    report.build("smoke")
    for name in ("index.html", "03.html"):
        page = Page((run.folder / name).read_text())
        assert any(attributes.get("class") == "banner" for attributes in page.all("p")), name
        assert "Smoke run: shows that it runs, not a result." in page.words, name


def test_the_gallery_shows_best_median_and_worst_of_the_last_notebook_that_has_them(home: Path):
    for notebook, names in (("03", ["03-panels"]), ("04", ["04-feet", "04-panels"]), ("05", ["05-views"])):
        run = begin(notebook, scale="quick")
        for name in names:
            picture = run.folder / "figures" / f"{name}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (30, 20), "white").save(picture)
            run.figures.append({"file": f"figures/{name}.png", "caption": f"caption of {name}"})
        run.answer("x")
    page = Page(report.build("quick").read_text())
    assert page.all("img")[0]["src"] == "figures/04-feet.png" and len(page.all("figcaption")) == 1


def test_a_page_of_a_notebook_that_is_gone_goes(home: Path):
    run = finish(home, "03")
    report.build("quick")
    (run.folder / "parts" / "03.json").rename(run.folder / "parts" / "03_renamed.json")
    text = (run.folder / "parts" / "03_renamed.json").read_text()
    (run.folder / "parts" / "03_renamed.json").write_text(text.replace('"notebook": "03"', '"notebook": "03_renamed"'))
    report.build("quick")
    assert not (run.folder / "03.html").exists() and (run.folder / "03_renamed.html").exists()


# ------------------------------------------------------------------------------------------------------------ metrics


def lines_of(run: NotebookRun) -> list[str]:
    return (run.folder / "metrics.csv").read_text().splitlines()


def test_metrics_are_joined_in_the_order_of_the_notebooks_byte_for_byte(home: Path):
    runs = {notebook: finish(home, notebook) for notebook in ("05", "03", "04")}
    report.build("quick")
    parts = [part_of_metrics(runs[n].work, n).read_text().splitlines() for n in ("03", "04", "05")]
    lines = lines_of(runs["03"])
    assert lines == [",".join(COLUMNS), *[line for part in parts for line in part[1:]]]
    assert lines[1].endswith(",02691156,007,007-a,4,clockwise,0.3,,0.5,,")


def test_without_parts_as_in_a_fresh_checkout_the_metrics_stay_as_they_are(home: Path):
    runs = [finish(home, notebook) for notebook in ("03", "04")]
    report.build("quick")
    before = lines_of(runs[0])
    shutil.rmtree(home / ".runs")
    report.build("quick")
    assert lines_of(runs[0]) == before and len(before) == 3
    again = begin("04", scale="quick")
    again.save_metrics(metrics("04", iou=0.75).drop(columns="notebook"))
    again.answer("better")
    report.build("quick")
    assert [line.split(",")[-3] for line in lines_of(again)[1:]] == ["0.5", "0.75"]


def test_a_part_of_another_run_than_the_manifest_does_not_count(home: Path):
    run = finish(home, "03")
    report.build("quick")
    begin("03", scale="quick").save_metrics(metrics(iou=0.9).drop(columns="notebook"))
    report.build("quick")
    assert lines_of(run)[1].endswith(",0.5,,"), "the other run has not ended"


def test_a_report_from_before_digests_keeps_its_rows(home: Path):
    run = finish(home, "03")
    report.build("quick")
    manifest = json.loads((run.folder / "parts" / "03.json").read_text())
    del manifest["metrics"]
    (run.folder / "parts" / "03.json").write_text(json.dumps(manifest))
    report.build("quick")
    assert len(lines_of(run)) == 2


def test_a_notebook_that_did_not_end_is_left_out(home: Path):
    finish(home, "03")
    begin("04", "Stopped", scale="quick").save_metrics(metrics("04").drop(columns="notebook"))
    report.build("quick")
    assert set(report.committed_metrics("quick")["notebook"]) == {"03"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.drop(columns="look"), "metrics.csv: column look is not as expected"),
        (lambda m: m.assign(colour="red"), "metrics.csv: column colour is not as expected"),
        (lambda m: m[[*COLUMNS[::-1]]], "metrics.csv: column order is not as expected"),
        (lambda m: m.assign(order=""), "metrics.csv: column order is empty in row 1"),
    ],
)
def test_metrics_that_do_not_fit_are_named(home: Path, change, message: str):
    run = finish(home, "03")
    written = pd.read_csv(part_of_metrics(run.work, "03"), dtype=str, keep_default_na=False)
    change(written).to_csv(run.folder / "metrics.csv", index=False)
    before = (run.folder / "metrics.csv").read_text()
    with pytest.raises(ValueError, match=message):
        report.build("quick")
    assert (run.folder / "metrics.csv").read_text() == before and not (run.folder / "index.html").exists()


def test_a_missing_figure_is_named(home: Path):
    run = finish(home, "03")
    (run.folder / "figures" / "03-a b.png").unlink()
    with pytest.raises(FileNotFoundError, match="03-a b.png: named by a manifest, but missing"):
        report.build("quick")


def test_a_manifest_cannot_reach_outside_the_report(home: Path):
    run = begin("03", scale="quick")
    (home / "secret.csv").write_text("a\n1\n")
    run.tables.append({"file": "../../secret.csv", "caption": "x"})
    run.answer("x")
    with pytest.raises(ValueError, match="lies outside"):
        report.build("quick")


def test_nothing_run_is_said(home: Path, capsys):
    assert main(["report", "quick"]) == 1
    assert "no notebook of scale quick has run" in capsys.readouterr().err


def test_a_page_that_is_too_large_is_named(home: Path, monkeypatch):
    run = finish(home, "03")
    with monkeypatch.context() as smaller:
        smaller.setattr(size_limits, "PAGE", 0.001)
        with pytest.raises(ValueError, match=r"\.html: has .* MB, and a page may have 0.001; show fewer"):
            report.build("quick")
    monkeypatch.setattr(size_limits, "FOLDER", 0.3)
    size_limits.check_sizes(run.folder)
    (run.folder / "executed.ipynb").write_text(" " * 400_000)
    with pytest.raises(ValueError, match="may have 0.3; the largest is executed.ipynb with 0.4"):
        size_limits.check_sizes(run.folder)


# --------------------------------------------------------------------------------------------------------------- tables


def test_tables_show_one_number_of_decimals_a_column():
    words = Page(table(pd.DataFrame({"id": ["03"], "a": [0.123456], "b": ["0.2923"], "c": [7], "d": [""]}), "x")).words
    assert words.split() == ["x", "id", "a", "b", "c", "d", "03", "0.123", "0.2923", "7", "–"]
    columns = Page(table(pd.DataFrame({"id": ["p", "q"], "a": ["0.5", "0.25"]}), "x")).words.split()
    assert columns[-4:] == ["p", "0.50", "q", "0.25"]
