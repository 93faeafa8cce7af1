from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from validity import checked

from p2vlib import report, runs
from p2vlib.__main__ import main
from p2vlib.report import carried
from p2vlib.report.evaluation import build_evaluation
from p2vlib.report.findings import findings
from p2vlib.report.markup import prose, table
from p2vlib.runs import METRICS, Run, begin, part_of_metrics

HOSTILE = 'A "hostile" <script>alert(1)</script> & caption'


def metrics(notebook: str = "03", **facts) -> pd.DataFrame:
    row = {
        **{"notebook": notebook, "model": "pix2vox-f-narrow", "variant": "main", "training": "objects"},
        **{"dataset": "objects", "look": "studio", "cameras": "none", "placement": "true", "taxonomy": "02691156"},
        **{"subject": "007", "sample": "007-a", "views": 4, "order": "clockwise", "threshold": 0.3},
        **{"selected": True, "iou": 0.5, **facts},
    }
    return pd.DataFrame([row])[list(METRICS)]


def finish(home: Path, notebook: str, answer: str = "It is **0.5**.", scale: str = "quick") -> Run:
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
    committed = Path(__file__).parents[1] / "reports"
    for path in [*(committed / "quick").glob("*.html"), committed / "evaluate" / "index.html"]:
        checked(path, path.parent)
    for kept in (committed / "quick", committed / "evaluate"):
        carried.check_sizes(kept)
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
    assert [picture["alt"] for picture in index.all("img")] == ["", ""], "the words stand beside it"


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


def test_the_slides_numbers_have_a_page(folder: Path):
    words = Page((folder / "published.html").read_text()).words
    for number in ("0.2923", "0.3225", "0.6607", "0.5666", "1357", "0.269"):
        assert number in words, number


def test_minutes_of_the_whole_study_count_the_data(home: Path):
    run = finish(home, "03")
    (run.folder / "study.json").write_text(json.dumps({"minutes_of": {"data": 10.25, "03": 4.5}}))
    words = Page(report.build("quick").read_text()).words
    assert "14.7 minutes in all" in words and "10.2" in words


def test_a_smoke_page_says_so(home: Path):
    finish(home, "03", scale="smoke")
    page = Page(report.build("smoke").read_text())
    assert any(attributes.get("class") == "banner" for attributes in page.all("p"))
    assert "not a result" in page.words


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
    assert [picture["src"] for picture in page.all("img") if picture["alt"]] == ["figures/04-feet.png"]


def test_a_page_of_a_notebook_that_is_gone_goes(home: Path):
    run = finish(home, "03")
    report.build("quick")
    (run.folder / "parts" / "03.json").rename(run.folder / "parts" / "03_renamed.json")
    text = (run.folder / "parts" / "03_renamed.json").read_text()
    (run.folder / "parts" / "03_renamed.json").write_text(text.replace('"notebook": "03"', '"notebook": "03_renamed"'))
    report.build("quick")
    assert not (run.folder / "03.html").exists() and (run.folder / "03_renamed.html").exists()


# ------------------------------------------------------------------------------------------------------------ metrics


def lines_of(run: Run) -> list[str]:
    return (run.folder / "metrics.csv").read_text().splitlines()


def test_metrics_are_joined_in_the_order_of_the_notebooks_byte_for_byte(home: Path):
    runs = {notebook: finish(home, notebook) for notebook in ("05", "03", "04")}
    report.build("quick")
    parts = [part_of_metrics(runs[n].work, n).read_text().splitlines() for n in ("03", "04", "05")]
    lines = lines_of(runs["03"])
    assert lines == [",".join(METRICS), *[line for part in parts for line in part[1:]]]
    assert lines[1].endswith(",02691156,007,007-a,4,clockwise,0.3,True,0.5")


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
    assert [line.rsplit(",", 1)[1] for line in lines_of(again)[1:]] == ["0.5", "0.75"]


def test_a_part_of_another_run_than_the_manifest_does_not_count(home: Path):
    run = finish(home, "03")
    report.build("quick")
    begin("03", scale="quick").save_metrics(metrics(iou=0.9).drop(columns="notebook"))
    report.build("quick")
    assert lines_of(run)[1].endswith(",0.5"), "the other run has not ended"


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
    assert set(report.committed("quick")["notebook"]) == {"03"}


def test_metrics_come_back_with_their_types(home: Path):
    finish(home, "03")
    report.build("quick")
    row = report.committed("quick").iloc[0]
    assert (row["taxonomy"], row["subject"], row["cameras"]) == ("02691156", "007", "none")
    assert row["views"] == 4 and row["selected"] is not False and row["iou"] == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.drop(columns="look"), "metrics.csv: column look is not as expected"),
        (lambda m: m.assign(colour="red"), "metrics.csv: column colour is not as expected"),
        (lambda m: m[[*METRICS[::-1]]], "metrics.csv: column order is not as expected"),
        (lambda m: m.assign(order=""), "metrics.csv: column order is empty in row 1"),
    ],
)
def test_metrics_that_do_not_fit_are_named(home: Path, change, message: str):
    run = finish(home, "03")
    change(metrics()).to_csv(run.folder / "metrics.csv", index=False)
    before = (run.folder / "metrics.csv").read_text()
    with pytest.raises(ValueError, match=message):
        report.build("quick")
    assert (run.folder / "metrics.csv").read_text() == before and not (run.folder / "index.html").exists()


@pytest.mark.parametrize(("column", "value"), [("views", "4.5"), ("iou", "high"), ("selected", "yes")])
def test_values_of_a_wrong_type_are_named(tmp_path: Path, column: str, value: str):
    path = tmp_path / "metrics.csv"
    metrics(**{column: value}).to_csv(path, index=False)
    with pytest.raises(ValueError, match=f"metrics.csv: .*{column}"):
        report.read_metrics(path)


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
        smaller.setattr(carried, "PAGE", 0.001)
        with pytest.raises(ValueError, match=r"\.html: has .* MB, and a page may have 0.001; show fewer"):
            report.build("quick")
    (run.folder / "metrics.csv").write_text((run.folder / "metrics.csv").read_text() + "\n" * 400_000)
    monkeypatch.setattr(carried, "FOLDER", 0.3)
    carried.check_sizes(run.folder)
    (run.folder / "executed.ipynb").write_text(" " * 400_000)
    with pytest.raises(ValueError, match="may have 0.3; the largest is executed.ipynb with 0.4"):
        carried.check_sizes(run.folder)


# ---------------------------------------------------------------------------------------------- the numbers that matter

NETWORKS = {"adapted": "pix2vox-a", "recurrent": "pix2vox-lstm"}


def on_feet(notebook: str, model: str, ious: tuple[float, ...], **facts) -> pd.DataFrame:
    """A network trained on feet, tested on phone looks of the feet ``p0``, ``p1`` …"""
    told = {"training": "feet-phone", "dataset": "feet", "look": "phone", "taxonomy": "05563266", "views": 4, **facts}
    rows = [
        metrics(notebook, model=model, subject=f"p{n}", sample=f"p{n}-left", iou=iou, **told)
        for n, iou in enumerate(ious)
    ]
    return pd.concat(rows)


def test_the_best_system_stands_beside_the_mean_foot_of_its_own_test():
    rows = [
        on_feet("05", "mean-shape", (0.1, 0.1)),
        on_feet("06", "mean-shape", (0.6, 0.7)),
        on_feet("05", "pix2vox-a", (0.7, 0.72)),
        on_feet("06", "rays", (0.8, 0.84)),
        on_feet("06", "rays", (0.99, 0.99), variant="shipped"),
        on_feet("06", "rays", (0.95, 0.95), cameras="noisy"),
        on_feet("06", "visual-hull", (0.97, 0.97), training="none"),
    ]
    best, shipped = findings(pd.concat(rows), NETWORKS)
    assert best.value == pytest.approx(0.82) and best.low == pytest.approx(0.8) and best.high == pytest.approx(0.84)
    beside = {one.name: one for one in best.beside}
    assert beside["mean foot"].value == pytest.approx(0.65) and beside["mean foot"].mark == "guess"
    assert beside["the gain over it, paired"].value == pytest.approx(0.17)
    assert beside["slides, Pix2Vox-LSTM"].value == 0.3225
    assert "2 systems" in best.note and "2 feet of 2 people" in best.note
    assert shipped.value == pytest.approx(0.99)


def test_the_lstm_is_compared_as_on_the_slides_and_as_tuned():
    slides = dict(training="objects", look="studio", views=4)
    rows = [
        on_feet("05_lstm", "pix2vox-a", (0.30, 0.40), **slides),
        on_feet("05_lstm", "pix2vox-lstm", (0.34, 0.42), **slides),
        on_feet("05_lstm", "pix2vox-a", (0.8, 0.8)),
        on_feet("05_lstm", "pix2vox-lstm", (0.7, 0.8)),
        on_feet("04_tuned", "pix2vox-a", (0.9, 0.9)),
    ]
    _, lstm = findings(pd.concat(rows), NETWORKS)
    assert lstm.value == pytest.approx(0.03) and lstm.low == pytest.approx(0.02) and lstm.high == pytest.approx(0.04)
    beside = {one.name: one.value for one in lstm.beside}
    assert beside["slides"] == pytest.approx(0.3225 - 0.2923) and beside["fine-tuned on feet"] == pytest.approx(-0.05)


def test_objects_stand_in_where_no_weights_were_shipped():
    rows = [metrics("03", model=model, views=1, iou=iou) for model, iou in (("pix2vox-a", 0.5), ("mean-shape", 0.4))]
    (objects,) = findings(pd.concat(rows), NETWORKS)
    assert objects.value == 0.5 and [one.value for one in objects.beside] == [0.4, 0.6608]
    assert findings(pd.concat(rows).iloc[:0], NETWORKS) == []


def test_what_an_evaluation_found_has_a_page(home: Path, tmp_path_factory):
    kept = Path(__file__).parents[1] / "reports" / "evaluate"
    folder = shutil.copytree(kept, home / "evaluate")
    page = build_evaluation(folder)
    checked(page, folder)
    words = Page(page.read_text()).words
    assert "Length is off by, from photos" in words and "25 of 40 people were found" in words
    assert "Where photos on a mat were taken from" in words
    with pytest.raises(FileNotFoundError, match="make evaluate"):
        build_evaluation(home / "nowhere")


# --------------------------------------------------------------------------------------------------------------- tables


def test_tables_show_one_number_of_decimals_a_column():
    words = Page(table(pd.DataFrame({"id": ["03"], "a": [0.123456], "b": ["0.2923"], "c": [7], "d": [""]}), "x")).words
    assert words.split() == ["x", "id", "a", "b", "c", "d", "03", "0.123", "0.2923", "7", "–"]
    columns = Page(table(pd.DataFrame({"id": ["p", "q"], "a": ["0.5", "0.25"]}), "x")).words.split()
    assert columns[-4:] == ["p", "0.50", "q", "0.25"]


# ------------------------------------------------------------------------------------------------- published numbers


def value(**where) -> float:
    rows = report.published()
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1, where
    return float(rows["value"].iloc[0])


def test_the_slides_numbers():
    slides = {"source": "slides 2021", "metric": "iou"}
    assert value(**slides, model="Pix2Vox-A", taxonomy="foot", threshold=0.4) == 0.2923
    assert value(**slides, model="Pix2Vox-LSTM", taxonomy="foot", threshold=0.4) == 0.3225
    assert value(**slides, model="Pix2Vox-LSTM", taxonomy="overall", threshold=0.2) == 0.5852
    assert value(**slides, model="Pix2Vox-A", taxonomy="overall", threshold=0.3) == 0.6607
    assert value(**slides, model="Pix2Vox-A", taxonomy="chair", threshold=0.3) == 0.5666
    assert value(**slides, model="Pix2Vox++/A", training="things3d-chairs") == 0.269


def test_the_papers_numbers():
    papers = {"source": "papers, by views"}
    assert value(**papers, model="LRGT+", views=20, metric="iou") == 0.7922
    assert value(**papers, model="3D-R2N2", views=3, metric="f-score@1%") == 0.372
    assert value(source="papers, single view", model="Pix2Vox-F", taxonomy="telephone") == 0.77


def test_the_slides_samples_add_up_and_weight_the_overall_row_to_a_thousandth():
    table = report.published()
    slides = table[(table["source"] == "slides 2021") & (table["dataset"] == "shapenet")]
    samples = slides[slides["metric"] == "samples"].set_index("taxonomy")["value"]
    assert len(samples) == 13 and samples.sum() == 8770
    at = slides[(slides["model"] == "Pix2Vox-A") & (slides["threshold"] == 0.3)].set_index("taxonomy")["value"]
    overall = ((at * samples).sum() + 20 * 0.2824) / 8790
    # The slides' own row (.6607) is not the exact weighted mean of the rows above it (.6601).
    assert overall == pytest.approx(0.6607, abs=0.001)


def test_published_categories_carry_their_synset():
    ids = report.published().set_index("taxonomy")["taxonomy_id"]
    assert set(ids["chair"]) == {"03001627"} and set(ids["foot"]) == {"05563266"} and set(ids["overall"]) == {"overall"}


def test_the_taxonomy_names_the_embedded_categories():
    from p2vlib.capture.objects import FAMILIES
    from p2vlib.conventions import FOOT_SYNSET

    entries = json.loads((report.numbers.TAXONOMY).read_text())
    names = {entry["taxonomy_id"]: entry["taxonomy_name"] for entry in entries}
    assert names == {**{synset: family.name for synset, family in FAMILIES.items()}, FOOT_SYNSET: "foot"}
    baseline = {entry["taxonomy_name"]: entry["baseline"] for entry in entries}
    assert baseline["chair"] == 0.466 and baseline["foot"] is None


# ------------------------------------------------------------------------------------------------------ committed run


def committed_run(home: Path) -> None:
    rows = [metrics(subject=s, sample=s, iou=iou, views=v) for v in (1, 4) for s, iou in (("a", 0.5), ("b", 0.7))]
    rows.append(metrics(subject="a", sample="a", iou=0.1, threshold=0.2, selected=False))
    rows.append(metrics(notebook="04", subject="a", sample="a", iou=0.2))
    path = home / "reports" / "quick" / "metrics.csv"
    path.parent.mkdir(parents=True)
    pd.concat(rows).to_csv(path, index=False)


def test_a_smoke_run_shows_the_committed_number_beside_its_own(home: Path):
    committed_run(home)
    summary = pd.DataFrame({"model": ["pix2vox-f-narrow", "new"], "views": 4, "iou": 0.3, "low": 0.2, "high": 0.4})
    beside = report.beside_committed(summary, begin("03", scale="smoke"))
    assert list(beside) == [*summary, "quick iou", "quick low", "quick high"]
    assert beside["quick iou"][0] == pytest.approx(0.6) and beside["quick low"][0] == pytest.approx(0.5)
    assert pd.isna(beside["quick iou"][1])


def test_committed_rows_are_narrowed_like_the_summary(home: Path):
    committed_run(home)
    summary = pd.DataFrame({"model": ["pix2vox-f-narrow"], "iou": [0.3], "low": 0.2, "high": 0.4})
    run = begin("03", scale="smoke")
    assert report.beside_committed(summary, run, views=[8])["quick iou"].isna().all()
    assert report.beside_committed(summary, run, views=4)["quick iou"][0] == pytest.approx(0.6)


def test_other_runs_and_fresh_checkouts_show_their_own_numbers_only(home: Path):
    summary = pd.DataFrame({"model": ["a"], "iou": [0.3], "low": 0.2, "high": 0.4})
    assert report.committed() is None
    assert report.beside_committed(summary, begin("03", scale="smoke")) is summary
    committed_run(home)
    assert report.beside_committed(summary, begin("03", scale="quick")) is summary


def test_home_moves_the_runs_but_not_the_published_numbers(home: Path):
    assert runs.home() == home
    assert len(report.published()) > 200
