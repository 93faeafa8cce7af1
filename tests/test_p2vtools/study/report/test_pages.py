import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from p2vtools.cli import main
from p2vtools.study import report
from p2vtools.study.metrics_csv import COLUMNS
from p2vtools.study.notebook_run import NotebookRun, begin, part_of_metrics
from p2vtools.study.report import html
from tests.pages import HOSTILE, check_page, complete_run, metrics, text_of

COMMITTED = Path(__file__).parents[4] / "reports"


def manifest_of(run: NotebookRun, **changes: object) -> Path:
    """The manifest of notebook 03, with changes."""
    path = run.folder / "parts" / "03.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def lines_of(run: NotebookRun) -> list[str]:
    return (run.folder / "metrics.csv").read_text().splitlines()


def test_the_report_is_one_valid_page_that_shows_the_results_of_its_notebooks(home: Path):
    complete_run("03", answer=f"**Yes** {HOSTILE} [out](https://example.org) ![p](https://example.org/p.png)")
    complete_run("04")
    folder = home / "reports" / "quick"
    (folder / "html").mkdir()
    (folder / "html" / "03.html").write_text("<p>executed</p>")
    (folder / "03.html").write_text("<p>by an earlier version</p>")
    report.build("quick")
    assert [path.name for path in folder.glob("*.html")] == ["index.html"]
    index = check_page(folder / "index.html", folder)
    text = text_of(index)

    addresses = {link.get("href") for link in index.iter("a")}
    assert {"html/03.html", "parts/03.config.json", "tables/03-t.csv", "metrics.csv", "config.json"} <= addresses
    assert "#published" in addresses and {"03", "04", "published"} <= {part.get("id") for part in index.iter("section")}
    assert "html/04.html" not in addresses, "it does not exist"
    pictures = list(index.iter("img"))
    assert [picture.get("alt") for picture in pictures] == 4 * [HOSTILE], "a preview and a figure of two notebooks"
    assert {(picture.get("width"), picture.get("height")) for picture in pictures} == {("30", "20")}
    assert all(header.get("scope") in ("col", "row") for header in index.iter("th"))
    assert len(index.findall(".//caption")) == len(index.findall(".//table")) == 7, (
        "two of notebooks, costs, four published"
    )
    assert len(index.findall(".//script")) == 1, "the report's own"
    assert text.count("<script>alert(1)</script>") == 5, "an answer, two figures and two tables"
    assert len(index.findall(".//strong")) == 2 and not any("example" in address for address in addresses)

    assert text.count("Made by cell [7] of 03, commit unknown, seed 0") == 1, "the figure"
    assert text.count("Made by 03, commit unknown, seed 0") == 1, "the table, saved outside a notebook"
    for fact in ("100/15/40 people", "2 notebooks at scale quick", "GiB of memory", "commit unknown, seed 0", "cores"):
        assert fact in text, fact
    assert "not a result" not in text
    assert text.index("those of a course of 2021") < text.index("What was run")
    for number in ("0.2923", "0.3225", "0.6607", "0.5666", "1357", "0.269"):
        assert number in text, number


def test_the_committed_report_is_valid_and_small():
    for run in ("quick", "evaluate"):
        check_page(COMMITTED / run / "index.html", COMMITTED / run)
        html.check_sizes(COMMITTED / run)


def test_the_committed_report_can_be_built_from_committed_files(home: Path):
    ignore = shutil.ignore_patterns("executed", "html", "*.html")
    folder = Path(shutil.copytree(COMMITTED / "quick", home / "reports" / "quick", ignore=ignore))
    kept = ["data/seeds.json", "data/weights/rays-foot-groups.csv"]
    for file in [*kept, "reports/gpu/metrics.csv", "reports/gpu/trainings.csv"]:
        (home / file).parent.mkdir(exist_ok=True)
        shutil.copy(COMMITTED.parent / file, home / file)
    before = (folder / "metrics.csv").read_bytes()
    check_page(report.build("quick"), folder)
    assert (folder / "metrics.csv").read_bytes() == before
    page = (folder / "index.html").read_text()
    assert page.count("<figure>") > 30 and page.count("<table>") > 40 and page.count('class="finding"') == 3
    assert "Made by cell [19] of 05_lstm_ablation, commit 8975583, seed 0" in page
    assert page == (COMMITTED / "quick" / "index.html").read_text(), "the committed page is up to date"
    assert "The published networks on a GPU" in page and "0.479 [0.456, 0.504]" in page and "2 of 3" in page
    assert "5 of 52 trained networks did not learn" in page and "the best of 7 systems" in page
    assert "attsets-narrow (did not learn)" in page and "unprojection (did not learn)" not in page


def test_the_report_counts_minutes_and_marks_smoke_runs_with_the_last_ranked_gallery(home: Path):
    run = complete_run("03")
    manifest_of(run, seconds=270)
    (run.folder / "study.json").write_text(json.dumps({"minutes_of": {"data": 10.25, "03": 99}}))
    page = check_page(report.build("quick"), run.folder)
    assert "14.7 minutes in total without trainings of earlier runs" in text_of(page)
    minutes = [cell.text for cell in page.iter("td")]
    assert "4.5" in minutes and "99.0" not in minutes
    for notebook, name in (("03", "panels"), ("04", "feet"), ("05", "views")):
        complete_run(notebook, name=name, scale="smoke")
    page = check_page(report.build("smoke"), home / "reports" / "smoke")
    assert "Smoke run: shows that it runs, not a result." in page.find(".//p[@class='banner']").text
    assert page.find(".//img").get("src") == "figures/04-feet.png"


def test_metrics_are_joined_in_the_order_of_the_notebooks_and_replaced_by_those_of_new_runs(home: Path):
    runs = {notebook: complete_run(notebook) for notebook in ("05_old", "03", "04")}
    report.build("quick")
    parts = [part_of_metrics(runs[n].work, n).read_text().splitlines() for n in ("03", "04", "05_old")]
    lines = lines_of(runs["03"])
    assert lines == [",".join(COLUMNS), *[line for part in parts for line in part[1:]]]
    assert lines[1].endswith(",02691156,007,007-a,4,clockwise,0.3,,0.5,,")
    (runs["03"].folder / "parts" / "05_old.json").unlink()
    complete_run("05_new")
    report.build("quick")
    assert report.committed_metrics("quick").notebook.tolist() == ["03", "04", "05_new"]
    before = lines_of(runs["03"])
    shutil.rmtree(home / ".runs")
    report.build("quick")
    assert lines_of(runs["03"]) == before, "without parts the committed metrics remain"
    again = begin("04", scale="quick")
    again.save_metrics(metrics("04", iou=0.75).drop(columns="notebook"))
    again.answer("better")
    report.build("quick")
    assert [line.split(",")[-3] for line in lines_of(again)[1:]] == ["0.5", "0.75", "0.5"]


def test_a_run_that_did_not_complete_changes_no_metrics(home: Path):
    run = complete_run("03")
    report.build("quick")
    begin("03", scale="quick").save_metrics(metrics(iou=0.9).drop(columns="notebook"))
    begin("04", "Stopped", scale="quick").save_metrics(metrics("04").drop(columns="notebook"))
    report.build("quick")
    assert lines_of(run)[1].endswith(",0.5,,") and set(report.committed_metrics("quick")["notebook"]) == {"03"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.drop(columns="look"), "metrics.csv: column look is not as expected"),
        (lambda m: m.assign(colour="red"), "metrics.csv: column colour is not as expected"),
        (lambda m: m[[*COLUMNS[::-1]]], "metrics.csv: column order is not as expected"),
        (lambda m: m.assign(order=""), "metrics.csv: line 2 has an empty cell"),
        (lambda m: m.assign(look="phone"), "lines 2 to 2 of 03, with another digest than in its manifest"),
        (lambda m: m[:0], "no line of 03, with another digest"),
        (lambda m: pd.concat([m, m.assign(notebook="07")]), "line 3 is of 07, which has no manifest"),
    ],
)
def test_committed_metrics_are_kept_where_they_are_not_those_of_the_manifests(home: Path, change, message: str):
    run = complete_run("03")
    written = pd.read_csv(part_of_metrics(run.work, "03"), dtype=str, keep_default_na=False)
    change(written).to_csv(run.folder / "metrics.csv", index=False)
    before = (run.folder / "metrics.csv").read_text()
    (part := part_of_metrics(run.work, "03")).rename(part.with_suffix(".hidden"))
    with pytest.raises(ValueError, match=f"{message}.*; restore it with .*p2v study --scale quick --only 03"):
        report.build("quick")
    assert (run.folder / "metrics.csv").read_text() == before and not (run.folder / "index.html").exists()


def test_damaged_metrics_are_made_again_from_the_parts_and_kept_beside(home: Path, capsys):
    run = complete_run("03")
    report.build("quick")
    path = run.folder / "metrics.csv"
    before = path.read_text()
    path.write_text('"' + before)
    report.build("quick")
    assert path.read_text() == before and path.with_name("metrics.old.csv").read_text() == '"' + before
    assert "metrics.csv: column " in (out := capsys.readouterr().out) and "the file is made again" in out


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("study.json", "[]", "JSON with a list .*p2v data"),
        ("study.json", "{}", "no 'minutes_of'.*p2v data"),
        ("config.json", "{", "run its notebook again"),
        ("config.json", "{}", "no feet, image_size, networks, objects, scale; run a notebook"),
        ("parts/03.json", "{", "run its notebook again"),
        ("tables/03-t.csv", "", "cannot be read .*restore it with git"),
        ("tables/03-learning.csv", "model\nnet\n", "cannot be read .*restore it with git"),
        ("figures/03-a b.png", "", "cannot be read .*restore it with git"),
    ],
)
def test_a_damaged_file_is_named_with_what_restores_it(home: Path, file, content, message):
    run = complete_run("03")
    run.save_checks(run.checks)
    run.answer("x")
    (run.folder / file).write_text(content)
    with pytest.raises(ValueError, match=f"{file}: .*({message})"):
        report.build("quick")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("notebook", "../../x", "is of the notebook '../../x'; expected the manifest of 03"),
        ("tables", [{"caption": "x"}], "has no valid figures or tables"),
        ("seconds", "long", "has no valid seconds"),
    ],
)
def test_a_damaged_manifest_is_named(home: Path, key, value, message):
    manifest_of(complete_run("03"), **{key: value})
    with pytest.raises(ValueError, match=f"03.json: {message}.*: run its notebook again"):
        report.build("quick")


def test_a_missing_figure_a_file_outside_and_an_empty_report_are_errors(home: Path, capsys):
    assert main(["report", "quick"]) == 1
    assert "no notebook of scale quick has run" in capsys.readouterr().err
    run = complete_run("03")
    (run.folder / "figures" / "03-a b.png").unlink()
    with pytest.raises(FileNotFoundError, match="03-a b.png: named by a manifest, but missing"):
        report.build("quick")
    (home / "secret.csv").write_text("a\n1\n")
    run.figures, run.tables = [], [{"file": "../../secret.csv", "caption": "x"}]
    run.answer("x")
    with pytest.raises(ValueError, match="lies outside"):
        report.build("quick")


def test_sizes_are_limited_and_a_column_of_numbers_has_one_number_of_decimals(home: Path, monkeypatch):
    run = complete_run("03")
    with monkeypatch.context() as smaller:
        smaller.setattr(html, "MAX_PAGE", 0.001)
        with pytest.raises(ValueError, match=r"\.html: .* MB exceed the limit of 0.001 for a page"):
            report.build("quick")
    monkeypatch.setattr(html, "MAX_FOLDER", 0.3)
    (run.folder / "executed.ipynb").write_text(" " * 400_000)
    with pytest.raises(
        ValueError, match="exceed the limit of 0.3 for a report; its largest file is executed.ipynb with"
    ):
        html.check_sizes(run.folder)
    table = html.table(pd.DataFrame({"id": ["03"], "a": [0.123456], "b": ["0.2923"], "c": [7], "d": [""]}), "x")
    assert table["rows"] == [("03", "0.123", "0.2923", "7", "")]
    assert [numeric for _, numeric in table["columns"]] == [False, True, True, True, False]
    assert html.table(pd.DataFrame({"id": ["p", "q"], "a": ["0.5", "0.25"]}), "x")["rows"][0] == ("p", "0.50")
