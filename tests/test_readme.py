import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer

from p2vtools.cli import app
from p2vtools.fit.pretrained import pretrained_path
from p2vtools.study.metrics_csv import read_metrics

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "data/README.md", ROOT / "benchmarks/README.md"]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
README = TEXTS["README.md"]
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def blocks(text: str, language: str = "") -> list[str]:
    """The contents of the code blocks in a language; without one, the shell commands."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def commands() -> set[str]:
    """The lines of the shell that begin with ``p2v``."""
    lines = {line for text in TEXTS.values() for block in blocks(text) for line in block.splitlines()}
    return {line for line in lines if line.startswith("p2v ")}


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def answers() -> dict[str, str]:
    """Notebook -> its answer in README."""
    return dict(re.findall(r"^\| \[(\d\d\w+)\].*\| ([^|]*) \|$", README, re.MULTILINE))


@pytest.mark.parametrize("page", TEXTS)
def test_links_resolve(page):
    for mark, words, target in re.findall(r"(!?)\[([^]]*)\]\(([^)\s]*)\)", TEXTS[page]):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target
        if mark:
            assert len(words) > 40, f"{target}: {words!r} does not describe the picture"
            assert path.stat().st_size < 300_000, target


def test_commands_are_valid():
    group = typer.main.get_command(app)
    for line in commands():
        arguments = shlex.split(line, comments=True)[1:]
        name, command, rest = group.resolve_command(group.make_context("p2v", list(arguments)), arguments)
        assert command.make_context(name, rest).command.name == arguments[0], line
    named = {name for text in TEXTS.values() for name in re.findall(r"`p2v ([a-z]+)", text)}
    assert {"study", "capture"} <= named <= set(group.commands)


def test_make_targets_files_and_folders_of_the_text_exist():
    pattern = re.compile(r"^ *make (\S+)|`make (\S+)`", re.MULTILINE)
    named = {"".join(names) for text in TEXTS.values() for names in pattern.findall(text)}
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"setup", "lab", "report", "test"} <= named <= set(known)
    files = re.findall(r"`((?:p2vlib|p2vtools|tests|benchmarks)/[\w/]+\.py)`", "\n".join(TEXTS.values()))
    assert {name for name in files if not (ROOT / name).is_file()} <= {"p2vlib/models/NAME.py"}
    # If this fails, add the folder to docs/layers.py and run it.
    picture = (ROOT / "docs/layers.svg").read_text()
    folders = {file.parent for package in ("p2vlib", "p2vtools") for file in (ROOT / package).glob("*/__init__.py")}
    assert {name for folder in folders if (name := str(folder.relative_to(ROOT))) not in picture} == set()


def test_every_notebook_has_a_row_with_the_answer_of_its_run():
    assert len(README.splitlines()) <= 150
    assert list(answers()) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    for notebook, row in answers().items():
        if (manifest := ROOT / f"reports/quick/parts/{notebook}.json").is_file():
            answer = json.loads(manifest.read_text())["answer"]
            assert set(NUMBER.findall(row)) <= set(NUMBER.findall(answer)), f"{notebook}: {answer}"


def test_results_are_those_of_the_run():
    rows = [line for line in README.splitlines() if line.startswith(("| mean foot", "| `pix2vox"))]
    files = [*(ROOT / "reports/quick/tables").glob("0[45]*.csv"), *(ROOT / "reports/quick/parts").glob("0[45]*.json")]
    found = re.findall(r"\d\.\d+", "\n".join(file.read_text() for file in files))
    assert len(numbers := re.findall(r"\d\.\d{3}", "".join(rows))) == 27
    assert set(numbers) <= {f"{float(number):.3f}" for number in found}
    expected, baseline = re.search(r"IoU ([0-9.]+) on phone photos.* against ([0-9.]+) of", README).groups()
    assert f"| {baseline} [" in rows[0] and f"| {expected} [" in rows[3]
    rows = read_metrics(ROOT / "reports/quick/metrics.csv")
    rows = rows[(rows.model == "mean-shape") & (rows.notebook == "04_foot_finetuning") & rows.selected]
    feet = rows[(rows.dataset == "feet") & rows.training.isin(["feet-studio", "feet-phone"]) & (rows.look != "wild")]
    assert set(feet.threshold) == {0.4}
    means = feet.groupby(["training", "look", "views"]).iou.mean()
    assert {f"{iou:.3f}" for iou in means} == {baseline}


def test_accuracy_of_the_weights(weights):
    reached = {row["views"]: row["iou"] for row in weights.card["test IoU by photos"]}
    assert f"{reached[1]:.2f} from one, {reached[8]:.2f} from eight" in answers()["00_start_here"]
    accuracy = TEXTS["docs/accuracy.md"]
    first = f"with four photos {reached[4]:.3f}, two {reached[2]:.3f}, one {reached[1]:.3f}"
    assert f"| {reached[8]:.3f} [" in accuracy and first in accuracy
    path = pretrained_path()
    rows = pd.read_csv(path.with_name(f"{path.stem}-measures.csv")).groupby(["setting", "measure"])
    for setting in ("a mat's cameras, foot found", "in the wild, a mat's cameras, foot found"):
        length = rows.get_group((setting, "length"))
        error = length.value - length.truth
        inside = 100 * (error.abs() <= length.half_width).mean()
        text = f"median error {error.abs().median():.1f} mm, bias {error.mean():.1f} mm; {inside:.0f} % of feet inside "
        assert text + f"the reported interval of ± {length.half_width.mean():.0f} mm" in accuracy


def test_accuracy_from_photos_is_that_of_the_committed_rows():
    """Errors, intervals and sizes by way and number of photos; half an English size is 25.4 / 6 mm."""
    section = TEXTS["docs/accuracy.md"].partition("## From photos to a shoe size")[2].partition("\n## ")[0]
    fits = pd.read_csv(ROOT / "reports/evaluate/fits.csv").query("measure == 'length'")
    titles = {"mat, ": "mat", "sheet, ": "sheet", "true cameras": "exact", "a phone's": "tracking", "noted": "noted"}
    lines = [line for line in section.splitlines() if re.search(", .* photos? \\|", line)]
    assert len(lines) == 7
    for line in lines:
        (way,) = [way for title, way in titles.items() if line.startswith(f"| {title}")]
        views = {"one": 1, "two": 2, "four": 4, "eight": 8}[re.search(r"(\w+) photos? \|", line)[1]]
        cells = [cell.strip() for cell in line.split("|")[2:]]
        assert cells[:4] == [*_accuracy(fits, way, views)], line
    for column, way in enumerate(("mat", "sheet")):
        results, errors, inside, size = _accuracy(fits, way, 8)
        median, largest, bias = errors.removesuffix(" mm").split(", ")
        part = fits[(fits.way == way) & (fits.views == 8)]
        half_width = 1.96 * (part.found - part.truth).std() / part.found.count() ** 0.5
        expected = [f"{median} and {largest} mm", f"{bias} ± {half_width:.1f} mm", inside, size.removesuffix(" %")]
        assert f" {part.iou.mean():.3f} |" in section and f"± {part.within.median():.1f}" in section
        for title, text in zip(
            ("length: median", "length: bias", "length inside", "English size"), expected, strict=True
        ):
            (line,) = [line for line in section.splitlines() if line.startswith(f"| {title}")]
            assert text in line.split("|")[2 + column], line
        assert results.replace(", ", " and ") in section
    photos = pd.read_csv(ROOT / "reports/evaluate/photos.csv")
    sheets = photos[photos.mat.str.startswith("plain")]
    results = sheets[sheets.groupby("case").solved.transform("any")]
    assert f"{100 * results.solved.mean():.0f} % without these" in section
    for paper, part in fits[(fits.way == "mat") & (fits.views == 8)].groupby("mat"):
        of_paper = photos[photos.mat == paper]
        errors = f"{paper.upper()} {of_paper.mm.median():.1f} and {of_paper.mm.quantile(0.95):.1f} mm"
        placed = f"{paper.upper()} {100 * of_paper.solved.mean():g} %"
        bias = f"{paper.upper()} {(part.found - part.truth).mean():+.1f}"
        assert all(text in section for text in (errors, placed, bias)), (errors, placed, bias)
    lengths = fits[(fits.way == "sheet") & (fits.views == 8)]
    half = [f"{sheets.mm.median():.1f}", f"{sheets.mm.quantile(0.95):.1f}", _accuracy(fits, "sheet", 8)[1][:3]]
    assert f"{half[0]} and {half[1]} mm" in section and f"{100 * sheets.solved.mean():.0f} %; four" in section
    assert (lengths.found.isna().sum(), len(lengths)) == (4, 40)
    repeated = re.search(r"On\srendered photos half .*?\(\[accuracy\]", TEXTS["docs/your-own-photos.md"], re.DOTALL)[0]
    assert re.findall(r"\d+\.\d+", repeated) == half


def test_scans_before_are_the_first_of_the_committed_ones():
    section = TEXTS["docs/accuracy.md"].partition("## Scans")[2].partition("\n## ")[0]
    fits, scans = (pd.read_csv(ROOT / f"reports/evaluate/{name}.csv").query("case < 60") for name in ("fits", "scans"))
    lengths = fits[(fits.way == "scan") & (fits.measure == "length")]
    error = lengths.found - lengths.truth
    assert f"median error | {error.abs().median():.1f} mm" in section and f"bias | {error.mean():.1f} mm" in section
    assert f"95th percentile | {error.abs().quantile(0.95):.1f} mm" in section
    assert f"5th percentile | {scans.iou.median():.2f} and {scans.iou.quantile(0.05):.2f} |" in section


def test_left_and_right_feet_are_reconstructed_alike():
    rows = read_metrics(ROOT / "reports/quick/metrics.csv")
    rows = rows[(rows.notebook == "06_systems") & (rows.variant == "main") & (rows.dataset == "feet") & rows.selected]
    rows = rows[(rows.look == "phone") & (rows.placement == "true")]
    texts = []
    for model, views in (("unprojection", 8), ("unprojection", 4), ("mean-shape", 4)):
        part = rows[(rows.model == model) & (rows.views == views)]
        side = part["sample"].str.rpartition("-")[2]
        iou = part.groupby(["subject", side]).iou.mean().unstack()
        gain = iou["left"] - iou["right"]
        texts.append(f"{gain.mean():.3f} ± {1.96 * gain.std() / len(gain) ** 0.5:.3f}")
    assert all(text in TEXTS["data/README.md"] for text in texts), texts


def _accuracy(fits: pd.DataFrame, way: str, views: int) -> tuple[str, str, str, str]:
    """Results and those judged good; errors of the length; how many are inside; sizes within a half."""
    part = fits[(fits.way == way) & (fits.views == views)]
    found = part.found.where(part.verdict != "not usable")
    error = (found - part.truth).dropna()
    inside = int((error.abs() <= part.within[error.index]).sum())
    good = int((part.verdict == "good").sum()) or "none"
    halves = (found / (25.4 / 6)).round() - (part.truth / (25.4 / 6)).round()
    return (
        f"{len(error)}, {good}",
        f"{error.abs().median():.1f}, {error.abs().quantile(0.95):.1f}, {error.mean():+.1f} mm",
        f"{inside} of {len(error)}",
        f"{100 * (halves.abs() <= 1).mean():g} %",
    )


def test_the_scripts_run(smoke, tmp_path):
    """The script of docs/gpu.md runs without anything but the core's dependencies; so does the network's example."""
    absent = "p2vtools trimesh scipy matplotlib plotly igl mitsuba anny cv2 skimage papermill typer distributed IPython"
    program = f"import runpy, sys\nfor name in {absent.split()}: sys.modules[name] = None\n"
    program += "for script in ('train.py', 'example.py'): runpy.run_path(script)\n"
    (on_gpu,) = blocks(TEXTS["docs/gpu.md"], "python")
    network, training = blocks(TEXTS["CONTRIBUTING.md"], "python")[:2]
    assert "steps=200, steps_per_epoch=50" in training
    (tmp_path / "train.py").write_text(on_gpu)
    (tmp_path / "my_networks.py").write_text(network)
    (tmp_path / "example.py").write_text(training.replace("steps=200, steps_per_epoch=50", "steps=2"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, "smoke", "pix2vox-f-narrow"]
    outcome = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    written = {path.parent.name for path in tmp_path.rglob("weights.safetensors")}
    assert written == {"pix2vox-f-narrow-objects", "pix2vox-f-narrow-feet", "mean-photo"}
