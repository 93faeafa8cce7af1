"""README: its links lead somewhere, its commands are valid, its numbers are those of the runs."""

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
    """Of each link: ``!`` for a picture, its text, and its target."""
    return re.findall(r"(!?)\[([^]]*)\]\(([^)]*)\)", README)


def shell_lines() -> list[str]:
    """The lines of the code blocks that are shell commands."""
    blocks = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def answers() -> dict[str, str]:
    """Notebook -> its answer according to README."""
    return dict(re.findall(r"^\| \[(\d\d_\w+)\].*\| ([^|]*) \|$", README, re.MULTILINE))


def test_links_lead_somewhere():
    headings = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall("#+ (.*)", README)}
    assert len(links()) > 20
    for _, _, target in links():
        assert target.removeprefix("#") in headings if target.startswith("#") else (ROOT / target).exists(), target


def test_pictures_have_descriptions_and_are_small():
    pictures = {target: words for mark, words, target in links() if mark}
    assert {"docs/foot.jpg", "docs/fit.jpg"} <= set(pictures)
    for target, words in pictures.items():
        assert len(words) > 40, f"{target}: {words!r} does not describe it"
        assert (ROOT / target).stat().st_size < 300_000, target


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith(("python -m p2vtools", "p2v "))])
def test_a_command_is_valid(line):
    arguments = shlex.split(line.removeprefix("python -m p2vtools").removeprefix("p2v"), comments=True)
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(group.make_context("p2v", list(arguments)), arguments)
    assert command.make_context(name, rest).command.name == arguments[0]


def test_make_knows_its_targets():
    named = re.findall(r"^make (\S+)|`make (\S+)`", "\n".join(shell_lines()) + README, re.MULTILINE)
    known = re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"setup", "lab", "report"} <= {"".join(names) for names in named} <= set(known)


def test_every_notebook_has_its_row():
    assert list(answers()) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", [name for name in answers() if "01" <= name[:2] <= "06"])
def test_the_answers_of_notebooks_contain_the_numbers_of_the_readme(notebook):
    answer = json.loads((ROOT / f"reports/quick/parts/{notebook}.json").read_text())["answer"]
    numbers = NUMBER.findall(answers()[notebook])
    assert numbers and set(numbers) <= set(NUMBER.findall(answer)), (
        f"README {answers()[notebook]!r}; the run {answer!r}"
    )


def test_the_pretrained_weights_reach_the_numbers_of_the_readme(weights):
    reached = {row["views"]: f"{row['iou']:.2f}" for row in weights.card["test IoU by photos"]}
    assert f"{reached[1]} from one, {reached[8]} from eight" in answers()["00_start_here"]
