import numpy as np
import pandas as pd
import pytest
import trimesh

from p2vtools.study import anatomy
from p2vtools.synthesis.feet.population import sample_population


def test_sizes_are_compared_at_the_length_of_the_table_and_ratios_as_they_are():
    length, breadth = np.array([300.0, 310.0]), np.array([119.8, 119.8])
    table = pd.DataFrame(dict.fromkeys(anatomy.SURVEY, 1.0), index=range(4))
    table = table.assign(sex=["man", "man", "woman", "woman"], stature=1700.0)
    table.loc[:1, ["length", "ball breadth"]] = np.stack([length, breadth], 1)
    table["ball length / length"] = [0.771, 0.771, 0.74, 0.738]
    rows = anatomy.compare_with_survey(table).set_index(["measure", "sex"])
    # Men are 305 mm long on average, so their breadth should be 101.9 * 305 / 271.2 = 114.6 mm; 119.8 is one SD more.
    assert rows.loc[("ball breadth", "man"), "deviation"] == pytest.approx(1.0, abs=0.001)
    assert rows.loc[("length", "man"), "deviation"] == pytest.approx((305 - 271.2) / 13.1, abs=0.001)
    assert not rows.loc[("length", "man"), "off"]
    assert rows.loc[("ball length / length", "man"), ["deviation", "off"]].tolist() == [2.0, True]
    # 0.739 on average: no deviation; two values 0.002 apart have a standard error of 0.001 or 0.077 SD.
    assert rows.loc[("ball length / length", "woman"), ["deviation", "deviation ±"]].tolist() == [0.0, 0.154]


def test_girth_of_a_box_is_its_perimeter():
    box = trimesh.creation.box((0.03, 0.4, 0.05))
    assert anatomy._girth(box, np.zeros(3), np.array([0.0, 1.0, 0.0])) == pytest.approx(160)
    slope = np.array([-0.6, 0.8, 0.0])  # cuts it along 0.03 / 0.8 = 0.0375 m
    assert anatomy._girth(box, np.zeros(3), slope) == pytest.approx(2 * (37.5 + 50))


def test_measures_are_those_that_were_drawn():
    people = [person for person in sample_population(5, 3, variety="wide") if not person.is_child]
    table = anatomy.survey_table(people)
    drawn = [person.right for person in people]
    assert len(table) == len(drawn) > 0 and table.sex.tolist() == [person.sex for person in people]
    assert table["length"].to_numpy() == pytest.approx([1000 * shape.length for shape in drawn], abs=1.5)
    assert table["heel breadth"].to_numpy() == pytest.approx([1000 * shape.form.heel_breadth for shape in drawn], abs=4)
    assert table["ball length / length"].to_numpy() == pytest.approx([s.form.ball_position for s in drawn], abs=0.03)
    assert (table["heel-ankle girth"] > table["ankle girth"]).all()
