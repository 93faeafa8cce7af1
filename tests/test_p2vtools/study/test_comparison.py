import json

import numpy as np
import pandas as pd
import pytest

from p2vlib.config import FeetData
from p2vtools.cli import main
from p2vtools.study import notebook_run
from p2vtools.study.comparison import compare, incomparable_reasons, iou_changes, read_runs, setting_differences
from p2vtools.study.report.addresses import outside_addresses
from tests.notebooks import write_notebook
from tests.pages import check_page, on_feet

PEOPLE = 12


def rows(
    better: float | np.ndarray = 0.0, model="unprojection", views: int = 4, order="clockwise", people: int = PEOPLE
) -> pd.DataFrame:
    """A test of a network on both feet of some people; ``better`` is added to the IoU of every foot."""
    iou = np.random.default_rng(len(model) + views).uniform(0.5, 0.6, 2 * PEOPLE)[: 2 * people] + better
    return on_feet("04", model, iou, each=2, views=views, order=order)


@pytest.fixture
def write(home, monkeypatch):
    """Writes a run of one notebook: the name of its folder, its tests, its parameters and settings."""

    def write(name: str, *tests: pd.DataFrame, notebook="04", scale="quick", seed=0, parameters=(), **changes):
        monkeypatch.setenv("P2VLIB_RUN", name)
        write_notebook(home / "notebooks" / f"{notebook}.ipynb", "views = 4  # photos\nlook = 'phone'")
        namespace = {"scale": scale, "seed": seed, "views": 4, "look": "phone", **dict(parameters)}
        run = notebook_run.begin(notebook, "", namespace, **changes)
        run.save_metrics(pd.concat(tests or [rows()], ignore_index=True))
        run.answer("An answer.")
        parts = [pd.read_csv(part, dtype=str) for part in sorted(run.work.glob("metrics/*.csv"))]
        pd.concat(parts).to_csv(run.folder / "metrics.csv", index=False)
        return run.folder

    return write


def test_changes_are_better_worse_open_or_the_same(write):
    verdicts = {"uneven": "better", "mean-shape": "same", "unprojection": "better", "pix2vox": "worse", "luck": "open"}
    noise, sides = np.random.default_rng(0).normal(0, 0.01, 2 * PEOPLE), np.tile([0.01, -0.01], PEOPLE)
    gains = dict(zip(verdicts, (0.02 + sides, 0.0, 0.02, -0.03, noise), strict=True))
    calm, changed = [rows(0.0, name) for name in gains], [rows(gain, name) for name, gain in gains.items()]
    one, other = read_runs([write("one", *calm), write("other", *changed)])
    found = iou_changes(one, other).set_index("model")
    assert found.verdict.to_dict() == verdicts
    assert found.difference[["unprojection", "pix2vox"]].tolist() == pytest.approx([0.02, -0.03], abs=1e-5)
    assert found.low["uneven"] == pytest.approx(found.high["uneven"], abs=1e-5), "everybody gains 0.02 on average"
    assert (found.low <= found.difference).all() and (found.difference <= found.high).all()
    assert set(found.subjects) == {PEOPLE} and set(found.samples) == {2 * PEOPLE}


def test_only_common_samples_are_compared_and_few_people_give_no_verdict(write):
    runs = [write("one"), *(write(f"{people}-people", rows(0.01, people=people)) for people in (7, 4))]
    first, *others = read_runs(runs)
    found = pd.concat([iou_changes(first, other) for other in others])
    assert found.samples.tolist() == [14, 8] and found.verdict.tolist() == ["better", "open"]


def test_a_page_of_a_single_person_is_valid_and_that_of_smoke_runs_is_marked(write, tmp_path):
    feet = rows(people=1)
    runs = [write(name, feet.assign(iou=iou), scale="smoke") for name, iou in (("one", 0.5), ("other", [0.6, 0.4]))]
    text, page = compare(runs, tmp_path / "page.html"), (tmp_path / "page.html").read_text()
    assert text.startswith("smoke run: shows that it runs, not a result\n\n") and 'class="banner"' in page
    assert "1 open" in text and "<svg" in page
    check_page(tmp_path / "page.html", tmp_path)


def test_different_numbers_of_photos_are_compared_where_each_run_has_one_of_its_own(write):
    four = [rows(order="shuffled"), *(rows(views=views) for views in (1, 4, 8))]
    eight = [rows(0.1, views=8, order="shuffled"), *(rows(0.02, views=views) for views in (1, 4, 8))]
    one, other = read_runs([write("four", *four), write("eight", *eight, parameters={"views": 8})])
    found = iou_changes(one, other).set_index("photos")
    assert found.orders.to_dict() == {"1, 4, 8": "clockwise", "4 → 8": "shuffled"}
    assert found.difference["1, 4, 8"] == pytest.approx(0.02, abs=1e-5)
    expected = rows(0.1, views=8).iou.mean() - rows(0).iou.mean()
    assert found.difference["4 → 8"] == pytest.approx(expected, abs=1e-5)
    settings = setting_differences([one, other]).set_index("setting")
    assert settings.loc["views (parameter)", ["four", "eight"]].tolist() == ["4 (default)", "8"]


def test_runs_that_cannot_be_compared_are_rejected_with_the_reason(write, tmp_path, capsys):
    one, other = write("one"), write("other", **{"feet.test_seed": 5})
    sentence = f"other test data, feet: test_seed is {FeetData().test_seed} in one and 5 in other"
    assert incomparable_reasons(*read_runs([one, other])) == [sentence]
    for runs, message in (
        ([one, other], f"^{sentence}; nothing is left to compare with one$"),
        ([one, write("smoke", scale="smoke")], "^different scales: quick and smoke have other test photos; nothing is"),
        ([one, tmp_path], r"holds no run; expected metrics.csv and parts/NN.json"),
        ([one], "1 run to compare; name two or more"),
        ([one, one / ".." / one.name], "one run is given twice"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(runs)
    assert main(["compare", str(one), str(write("third", notebook="05"))]) == 1
    assert capsys.readouterr().err == "p2v: the runs have no notebook in common\n"


def test_a_small_change_is_shown_with_more_decimals(write):
    runs = [write("one"), write("other", rows(0.0002)), write("few", rows(0.01, people=4))]
    text = [line.split("  ") for line in compare(runs).splitlines()]
    found = [[cell.strip() for cell in line if cell] for line in text if line[0].startswith("04 ")]
    assert [row[:3] for row in found] == [
        ["04 unprojection", "better", "+0.0002 [+0.0002, +0.0002]"],
        ["04 unprojection", "open, few", "+0.010 [+0.010, +0.010]"],
    ]
    assert ["", "open: the interval contains zero, or fewer than 5 people or objects (few)"] in text


def test_a_setting_that_differs_in_all_notebooks_has_one_row(write):
    one, other = write("one"), write("other", **{"finetuning.steps": 640})
    write("one", notebook="05")
    write("other", notebook="05", **{"finetuning.steps": 640, "seed": 2})
    for part in other.glob("parts/0?.json"):
        part.write_text(json.dumps({**json.loads(part.read_text()), "machine": "a GPU"}))
    settings = setting_differences(read_runs([one, other])).set_index("setting")
    assert settings.loc["finetuning.steps"].tolist() == ["all", "320", "640"]
    assert settings.loc["seed"].tolist() == ["05", "0", "2"]
    assert settings.loc["machine", "other"] == "a GPU" and "commit" not in settings.index


def test_the_page_is_self_contained_and_the_terminal_has_the_table(write, capsys, tmp_path):
    one, other = write("one"), write("other", rows(0.02), seed=1, parameters={"look": "<u>"})
    page = tmp_path / "page.html"
    assert main(["compare", str(one), str(other), "--out", str(page)]) == 0
    text = capsys.readouterr().out
    assert "other against one: 1 better, 0 worse, 0 open, 0 the same; intervals over people, not over" in text
    assert "+0.020 [+0.020, +0.020]" in text and f"page: {page}" in text and "not a result" not in text
    content = page.read_text()
    assert "another seed alone changes the IoU" in content
    assert outside_addresses(content) == [] and "<svg" in content and "&lt;u&gt;" in content and "<u>" not in content


def test_a_broken_manifest_is_named(write):
    one, two = write("one"), write("two", rows(0.1))
    manifest = next(path for path in two.glob("parts/*.json") if not path.name.endswith(".config.json"))
    for path in (manifest, manifest.with_suffix(".config.json")):
        whole = path.read_text()
        path.write_text(whole[:-5])
        with pytest.raises(ValueError, match=rf"{path.name}: not JSON .*; run its notebook again"):
            compare([one, two])
        path.write_text(whole)
    manifest.write_text("[]")
    with pytest.raises(ValueError, match=rf"{manifest.name}: JSON with a list .*; expected a JSON object"):
        compare([one, two])
