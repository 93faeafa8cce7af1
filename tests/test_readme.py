"""What README promises: its links lead somewhere, its commands are understood, its numbers are those of the runs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from p2vtools.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def links() -> list[tuple[str, str, str]]:
    """``!`` of a picture, its words, and where it leads."""
    return re.findall(r"(!?)\[([^]]*)\]\(([^)]*)\)", README)


def typed() -> list[str]:
    """The lines that are typed into a shell, without their comments."""
    shown = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [line for block in shown for line in block.splitlines()]


def answers() -> dict[str, str]:
    """Notebook -> what README says that it answers."""
    return dict(re.findall(r"^\| \[(\d\d_\w+)\].*\| ([^|]*) \|$", README, re.MULTILINE))


def test_links_lead_somewhere():
    headings = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall("#+ (.*)", README)}
    assert len(links()) > 20
    for _, _, target in links():
        assert target.removeprefix("#") in headings if target.startswith("#") else (ROOT / target).exists(), target


def test_pictures_are_told_in_words_and_small():
    pictures = {target: words for mark, words, target in links() if mark}
    assert {"docs/foot.jpg", "docs/fit.jpg"} <= set(pictures)
    for target, words in pictures.items():
        assert len(words) > 40, f"{target}: {words!r} does not say what it shows"
        assert (ROOT / target).stat().st_size < 300_000, target


@pytest.mark.parametrize("line", [line for line in typed() if line.startswith(("python -m p2vtools", "p2v "))])
def test_a_command_is_valid(line):
    arguments = shlex.split(line.removeprefix("python -m p2vtools").removeprefix("p2v"), comments=True)
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(group.make_context("p2v", list(arguments)), arguments)
    assert command.make_context(name, rest).command.name == arguments[0]


def test_make_knows_its_targets():
    named = re.findall(r"^make (\S+)|`make (\S+)`", "\n".join(typed()) + README, re.MULTILINE)
    known = re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"setup", "lab", "report"} <= {"".join(names) for names in named} <= set(known)


def test_every_notebook_has_its_row():
    assert list(answers()) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", [name for name in answers() if "01" <= name[:2] <= "06"])
def test_a_notebook_answers_what_the_readme_says(notebook):
    told = json.loads((ROOT / f"reports/quick/parts/{notebook}.json").read_text())["answer"]
    numbers = NUMBER.findall(answers()[notebook])
    assert numbers and set(numbers) <= set(NUMBER.findall(told)), f"README {answers()[notebook]!r}; the run {told!r}"


def test_the_weights_reach_what_the_readme_says(weights):
    reached = {row["views"]: f"{row['iou']:.2f}" for row in weights.card["test IoU by photos"]}
    assert f"{reached[1]} from one, {reached[8]} from eight" in answers()["00_start_here"]
