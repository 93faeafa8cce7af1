import subprocess
import sys

import pytest

from p2vlib.config import PRESETS
from p2vtools.cli import main
from p2vtools.study.cost import estimate_cost
from p2vtools.study.parameters import parse_parameter
from tests.test_p2vtools.study.test_runner import write_numbered

HEAVY = set(
    "torch pandas scipy trimesh igl matplotlib mitsuba distributed cv2 pycolmap plotly k3d anny papermill nbconvert "
    "sklearn torch._dynamo accelerate".split()
)
"""Imports that take a tenth of a second or more."""


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["--help"], ""),
        (["mat", "--out", "{tmp}/mat.pdf"], "matplotlib cv2"),
        (["compare", "{tmp}/a", "{tmp}/b"], "torch pandas papermill"),
        (["measure", "{tmp}/foot.obj", "--side", "left"], "torch pandas scipy trimesh"),
        (["reconstruct", "{capture}", "--size", "32", "--out", "{tmp}/foot.obj"], "torch pandas scipy trimesh"),
    ],
)
def test_commands_import_no_more_than_they_use(arguments, loaded, right_foot, tmp_path):
    arguments = [argument.format(tmp=tmp_path, capture=right_foot) for argument in arguments]
    script = f"import sys, p2vtools.cli as c; c.main({arguments}); print(*{HEAVY} & set(sys.modules), sep=chr(10))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert HEAVY & set(result.stdout.split("\n")) == set(loaded.split()), result.stderr


def test_an_error_is_one_sentence(home, capfd):
    write_numbered(home, "01_first")
    assert main(["study", "--only", "01", "-p", "sede=3"]) == 1
    message = capfd.readouterr().err
    assert message.startswith("p2v: no parameter 'sede' in 01_first.ipynb") and message.count("\n") == 1
    with pytest.raises(ValueError, match="no parameter 'sede'"):
        main(["--debug", "study", "-p", "sede=3"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study", "-p", "seed"], "'seed' is not name=value"),
        (["study", "-p", "5.seed=1"], "'5.seed=1' is not name=value or, for one notebook, 05.name=value"),
        (["study", "-p", "seed=1,2,1"], "'seed=1,2,1' has the value 1 twice"),
        (["study", "-p", "seed=1", "-p", "seed=2"], "seed is given twice; give all its values at once: seed=1,2"),
        (["study", "--jobs", "0"], "greater than or equal to 1"),
        (["study", "-p", "scale='full'"], "the scale is set by --scale"),
        (["study", "--scale", "x"], "'x' is not one of 'smoke'"),
        (["capture", "photos", "--sheet", "a5"], "'a5' is not one of 'a4', 'letter'"),
        (["app", "--port", "99999"], "less than or equal to 65535"),
        (["x"], "No such command 'x'"),
        (["evaluate", "--share", "x"], "'x' is not a number; expected one such as 98.5"),
        (["fetch"], "Missing argument 'name'"),
        ([], "Usage: p2v"),
    ],
)
def test_wrong_usage_has_exit_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no destination: pass --out CAPTURE_FOLDER or --into TREE"),
        (["--out", "x", "--subject", "p7"], "--subject and --consent are for a data set: pass --into TREE"),
        (["--out", "x", "--foot-length", "262"], "remove it, or pass --mat none if there is no mat"),
        (["--out", "x", "--sheet", "a4", "--mat", "a3"], "--mat is not needed with --sheet"),
        (["--out", "x", "--sheet", "a4", "--ruler", "99"], "--ruler is not needed with --sheet"),
        (["--out", "x", "--sheet", "a4", "--foot-length", "250"], "--foot-length is not needed with --sheet"),
    ],
)
def test_options_of_capture_that_do_not_fit_together_are_named(options, message, tmp_path, capsys):
    assert main(["capture", str(tmp_path), "--side", "left", *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("noise=.5", [0.5]),
        ("a=b=c", ["b=c"]),
        ("root=", [""]),
        ("05.views=4,8", [4, 8]),
        ("03a.views=[1, 4],[1, 8]", [[1, 4], [1, 8]]),
        ("look=phone,studio", ["phone", "studio"]),
        ("root='a,b'", ["a,b"]),
    ],
)
def test_values_are_literals_or_text_separated_by_commas(text, values):
    assert parse_parameter(text) == (text.partition("=")[0], values)


def test_scale_full_prints_the_cost_of_its_notebooks_and_starts_only_with_yes(home, capsys):
    for name in ("03_objects", "05_ablation"):
        write_numbered(home, name, "raise ValueError('started')")
    assert main(["study", "--scale", "full", "--only", "03"]) == 1
    printed = capsys.readouterr().out
    assert "notebooks 03: " in printed and " 3 trainings" in printed and "GB of GPU memory" in printed
    assert "add --yes" in printed and not (home / "reports").exists()
    assert main(["data", "--scale", "full"]) == 1
    assert "trainings" not in capsys.readouterr().out
    assert main(["study", "--scale", "full", "--only", "03", "--yes"]) == 1
    assert "started" in capsys.readouterr().err


def test_costs_count_trainings_that_notebooks_share_once():
    def trainings(scale: str, *numbers: str) -> str:
        return estimate_cost(PRESETS[scale], numbers).split("; ")[2]

    assert trainings("full", "03").startswith("3 trainings")
    assert trainings("full", "03a").startswith("1 training with") and trainings("full", "03", "03a").startswith("3 ")
    assert trainings("full", "04").startswith("4 trainings")
    assert trainings("full", "05").startswith("17 trainings"), "two on objects, four arms with three seeds, the control"
    assert trainings("quick", "04").startswith("5 trainings"), "on objects, studio, phone, wild and whole photos"
    # 06 trains its nine systems twice and eight more networks; of the others, 21 and 20 are different.
    assert trainings("quick", *"03 04 05 06".split()).startswith("47 trainings")
    assert trainings("full", *"03 04 05 06".split()).startswith("46 trainings")


def test_output_that_cannot_be_written_is_an_error_without_a_number(tmp_path, monkeypatch, command_error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for arguments, message in (
        ("mat --out mat.doc", "mat.doc: cannot write .doc; expected .pdf"),
        ("measure foot.obj --side left --out foot", "foot: cannot write a file without suffix"),
        ("reconstruct capture --out foot.doc", "foot.doc: cannot write .doc; expected .obj"),
        ("mat --out file/mat.pdf", "file"),
    ):
        printed = command_error(*arguments.split())
        assert message in printed and "Errno" not in printed and [path.name for path in tmp_path.iterdir()] == ["file"]
