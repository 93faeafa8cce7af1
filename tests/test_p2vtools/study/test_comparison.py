"""Comparison of runs, from folders as notebooks leave them, with known differences."""

from __future__ import annotations

import json

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from p2vlib.config import FeetData
from p2vtools.cli import main
from p2vtools.study import notebook_run
from p2vtools.study.comparison import compare, incomparable_reasons, iou_changes, read_runs, setting_differences
from p2vtools.study.report.addresses import outside_addresses
from tests.pages import check_page

PEOPLE = 12

VALUES = {
    **{"variant": "main", "training": "feet-phone", "dataset": "feet", "look": "phone"},
    **{"cameras": "none", "placement": "true", "taxonomy": "foot", "threshold": 0.4, "selected": True},
}


def rows(model: str, views: int, better: float, order: str = "clockwise", people: int = PEOPLE) -> list[dict]:
    """A test of a network on both feet of some people; ``better`` is added to the IoU of every foot."""
    iou = np.random.default_rng(len(model) + views).uniform(0.5, 0.6, 2 * PEOPLE)
    samples = [(f"p{person:02d}", f"p{person:02d}-{side}") for person in range(people) for side in ("left", "right")]
    return [
        {
            **VALUES,
            "model": model,
            "subject": who,
            "sample": which,
            "views": views,
            "order": order,
            "iou": value + better,
        }
        for (who, which), value in zip(samples, iou, strict=False)
    ]


def write_notebook(home, name: str) -> None:
    """A notebook with the parameters ``views`` and ``look``."""
    cell = new_code_cell("views = 4  # photos\nlook = 'phone'", metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (home / "notebooks").mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": kernel}), home / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def write(home, monkeypatch):
    """Writes a run of one notebook: the name of its folder, its tests, its parameters and settings."""

    def write(name: str, tests: list[dict], notebook: str = "04", scale="quick", seed=0, parameters=(), **changes):
        monkeypatch.setenv("P2VLIB_RUN", name)
        write_notebook(home, notebook)
        namespace = {"scale": scale, "seed": seed, "views": 4, "look": "phone", **dict(parameters)}
        run = notebook_run.begin(notebook, "", namespace, **changes)
        run.save_metrics(pd.DataFrame(tests))
        run.answer("An answer.")
        parts = [pd.read_csv(part, dtype=str) for part in sorted(run.work.glob("metrics/*.csv"))]
        pd.concat(parts).to_csv(run.folder / "metrics.csv", index=False)
        return run.folder

    return write


def test_changes_are_better_worse_open_or_the_same(write):
    rng = np.random.default_rng(0)
    noise = [{**row, "iou": row["iou"] + rng.normal(0, 0.01)} for row in rows("luck", 4, 0.0)]
    uneven = [
        {**row, "iou": row["iou"] + side}
        for row, side in zip(rows("uneven", 4, 0.02), [0.01, -0.01] * PEOPLE, strict=True)
    ]
    calm = [
        rows("uneven", 4, 0.0),
        rows("mean-shape", 4, 0.0),
        rows("unprojection", 4, 0.0),
        rows("pix2vox", 4, 0.0),
        rows("luck", 4, 0.0),
    ]
    changed = [uneven, rows("mean-shape", 4, 0.0), rows("unprojection", 4, 0.02), rows("pix2vox", 4, -0.03), noise]
    one, other = read_runs([write("one", sum(calm, [])), write("other", sum(changed, []))])
    found = iou_changes(one, other).set_index("model")
    assert found.verdict.to_dict() == {
        "uneven": "better",
        "mean-shape": "same",
        "unprojection": "better",
        "pix2vox": "worse",
        "luck": "open",
    }
    assert found.difference[["unprojection", "pix2vox"]].tolist() == pytest.approx([0.02, -0.03], abs=1e-5)
    assert found.low["uneven"] == pytest.approx(found.high["uneven"], abs=1e-5), "everybody gains 0.02 on average"
    assert (found.low <= found.difference).all() and (found.difference <= found.high).all()
    assert set(found.subjects) == {PEOPLE} and set(found.samples) == {2 * PEOPLE}


def test_only_common_samples_are_compared_and_few_people_give_no_verdict(write):
    one = write("one", rows("unprojection", 4, 0.0))
    fewer = write("fewer", rows("unprojection", 4, 0.01, people=7))
    few = write("few", rows("unprojection", 4, 0.01, people=4))
    first, *others = read_runs([one, fewer, few])
    found = pd.concat([iou_changes(first, other) for other in others])
    assert found.samples.tolist() == [14, 8] and found.verdict.tolist() == ["better", "open"]


def test_a_page_of_a_single_person_is_valid(write, tmp_path):
    feet = [{**row, "iou": 0.5} for row in rows("unprojection", 4, 0.0, people=1)]
    changed = [{**row, "iou": iou} for row, iou in zip(feet, (0.6, 0.4), strict=True)]
    text = compare([write("one", feet), write("other", changed)], tmp_path / "page.html")
    assert "1 open" in text and "<svg" in (tmp_path / "page.html").read_text()
    check_page(tmp_path / "page.html", tmp_path)


def test_different_numbers_of_photos_are_compared_where_each_run_has_one_of_its_own(write):
    four = (
        rows("unprojection", 4, 0.0, "shuffled")
        + rows("unprojection", 1, 0.0)
        + rows("unprojection", 4, 0.0)
        + rows("unprojection", 8, 0.0)
    )
    eight = (
        rows("unprojection", 8, 0.1, "shuffled")
        + rows("unprojection", 1, 0.02)
        + rows("unprojection", 4, 0.02)
        + rows("unprojection", 8, 0.02)
    )
    one, other = read_runs([write("four", four), write("eight", eight, parameters={"views": 8})])
    found = iou_changes(one, other).set_index("photos")
    assert found.orders.to_dict() == {"1, 4, 8": "clockwise", "4 → 8": "shuffled"}
    assert found.difference["1, 4, 8"] == pytest.approx(0.02, abs=1e-5)
    expected = np.mean([row["iou"] for row in rows("unprojection", 8, 0.1)]) - np.mean(
        [row["iou"] for row in rows("unprojection", 4, 0)]
    )
    assert found.difference["4 → 8"] == pytest.approx(expected, abs=1e-5)
    settings = setting_differences([one, other]).set_index("setting")
    assert settings.loc["views (parameter)", ["four", "eight"]].tolist() == ["4 (default)", "8"]


def test_different_test_data_are_not_compared_and_the_reason_is_given(write, capsys):
    one = write("one", rows("unprojection", 4, 0.0))
    other = write("other", rows("unprojection", 4, 0.0), **{"feet.test_seed": 5})
    third = write("third", rows("unprojection", 4, 0.0), notebook="05")
    sentence = f"other test data, feet: test_seed is {FeetData().test_seed} in one and 5 in other"
    assert incomparable_reasons(*read_runs([one, other])) == [sentence]
    with pytest.raises(ValueError, match=f"^{sentence}; nothing is left to compare with one$"):
        compare([one, other])
    assert main(["compare", str(one), str(third)]) == 1
    assert capsys.readouterr().err == "p2v: the runs have no notebook in common\n"


def test_runs_of_different_scales_are_rejected(write):
    quick, smoke = (write(scale, rows("unprojection", 4, 0.0), scale=scale) for scale in ("quick", "smoke"))
    with pytest.raises(ValueError, match="^different scales: quick and smoke have other test photos; nothing is left"):
        compare([quick, smoke])


def test_a_comparison_of_smoke_runs_is_marked(write, tmp_path):
    one, other = (
        write(name, rows("unprojection", 4, gain), scale="smoke") for name, gain in (("one", 0.0), ("other", 0.1))
    )
    text = compare([one, other], tmp_path / "page.html")
    assert text.startswith("smoke run: shows that it runs, not a result\n\n")
    assert 'class="banner"' in (tmp_path / "page.html").read_text()
    assert "not a result" not in compare(
        [write("third", rows("unprojection", 4, 0.0)), write("fourth", rows("unprojection", 4, 0.1))]
    )


def test_a_small_change_is_shown_with_more_decimals(write):
    one, other = write("one", rows("unprojection", 4, 0.0)), write("other", rows("unprojection", 4, 0.0002))
    few = write("few", rows("unprojection", 4, 0.01, people=4))
    text = [line.split("  ") for line in compare([one, other, few]).splitlines()]
    found = [[cell.strip() for cell in line if cell] for line in text if line[0].startswith("04 ")]
    assert [row[:3] for row in found] == [
        ["04 unprojection", "better", "+0.0002 [+0.0002, +0.0002]"],
        ["04 unprojection", "open, few", "+0.010 [+0.010, +0.010]"],
    ]
    assert ["", "open: the interval contains zero, or fewer than 5 people or objects (few)"] in text


def test_a_setting_that_differs_in_all_notebooks_has_one_row(write):
    one = write("one", rows("unprojection", 4, 0.0))
    write("one", rows("unprojection", 4, 0.0), notebook="05")
    other = write("other", rows("unprojection", 4, 0.0), **{"finetuning.steps": 640})
    write("other", rows("unprojection", 4, 0.0), notebook="05", **{"finetuning.steps": 640, "seed": 2})
    for part in other.glob("parts/0?.json"):
        part.write_text(json.dumps({**json.loads(part.read_text()), "machine": "a GPU"}))
    settings = setting_differences(read_runs([one, other])).set_index("setting")
    assert settings.loc["finetuning.steps"].tolist() == ["all", "320", "640"]
    assert settings.loc["seed"].tolist() == ["05", "0", "2"]
    assert settings.loc["machine", "other"] == "a GPU" and "commit" not in settings.index


def test_the_page_is_self_contained_and_the_terminal_has_the_table(write, capsys, tmp_path):
    one = write("one", rows("unprojection", 4, 0.0))
    other = write("other", rows("unprojection", 4, 0.02), seed=1, parameters={"look": "<u>"})
    page = tmp_path / "page.html"
    assert main(["compare", str(one), str(other), "--out", str(page)]) == 0
    text = capsys.readouterr().out
    assert "other against one: 1 better, 0 worse, 0 open, 0 the same" in text
    assert "+0.020 [+0.020, +0.020]" in text and f"page: {page}" in text
    content = page.read_text()
    assert outside_addresses(content) == [] and "<svg" in content and "&lt;u&gt;" in content and "<u>" not in content


def test_a_folder_without_a_run_and_a_single_run_are_rejected(write, tmp_path):
    one = write("one", rows("unprojection", 4, 0.0))
    with pytest.raises(ValueError, match=r"holds no run; expected metrics.csv and parts/NN.json"):
        compare([one, tmp_path])
    with pytest.raises(ValueError, match="1 run to compare; name two or more"):
        compare([one])
    with pytest.raises(ValueError, match="one run is given twice"):
        compare([one, one / ".." / one.name])


def test_a_broken_manifest_is_named(write):
    one, two = write("one", rows("unprojection", 4, 0.0)), write("two", rows("unprojection", 4, 0.1))
    manifest = next(path for path in two.glob("parts/*.json") if not path.name.endswith(".config.json"))
    for path in (manifest, manifest.with_suffix(".config.json")):
        whole = path.read_text()
        path.write_text(whole[:-5])
        with pytest.raises(ValueError, match=rf"{path.name}: not a JSON file"):
            compare([one, two])
        path.write_text(whole)
    manifest.write_text("[]")
    with pytest.raises(ValueError, match=rf"{manifest.name}: holds a list; expected a JSON object"):
        compare([one, two])
