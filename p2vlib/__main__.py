"""The command line: ``python -m p2vlib study --scale quick``, ``python -m p2vlib data --scale quick``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import measure
from .config import PRESETS
from .measure import Measures, sizes
from .phone import APPS

if TYPE_CHECKING:
    from .phone.captured import Intake


def parameter(text: str) -> tuple[str, list[Any]]:
    """``name=value``, ``05.name=value`` or several values, as `parameters.read`."""
    from .parameters import read

    try:
        return read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def numbers(text: str) -> list[str]:
    """``03,05`` as a list of notebook numbers."""
    return [number.strip() for number in text.split(",") if number.strip()]


def jobs(text: str) -> int:
    """A number of runs at once, from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs; expected 1 or more")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    commands = argparse.ArgumentParser(
        prog="python -m p2vlib", description="The study of feet from photos, and its tools."
    )
    commands.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    choice = commands.add_subparsers(dest="command", required=True)
    study = choice.add_parser("study", help="run the notebooks in order and build the report; resumes")
    study.add_argument("--only", type=numbers, metavar="NN,NN", help="only these notebooks")
    study.add_argument(
        "-p",
        type=parameter,
        action="append",
        default=[],
        metavar="[NN.]NAME=VALUE[,VALUE]",
        dest="parameters",
        help="a parameter of the notebooks that have it, seed=1, or of one, 05.views=8; several values, 05.views=4,8, "
        "make as many runs, below reports/grids, and compare them (a list in brackets is one value)",
    )
    study.add_argument("--jobs", type=jobs, help="so many such runs at once, on a share of the cores each")
    pages = choice.add_parser("report", help="lay the pages of a run anew from what it wrote; nothing is run")
    pages.add_argument("run", choices=[*PRESETS, "evaluate"], help="a scale, or what `evaluate` found")
    data = choice.add_parser("data", help="generate the embedded data; resumes")
    study.add_argument(
        "--on-error",
        choices=["stop", "skip"],
        help="with the real archives (--only 03): stop at what cannot be read, or skip it and list it in the report",
    )
    beside = choice.add_parser(
        "compare", help="what got better or worse from one run to others, and what they differ in"
    )
    beside.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="two or more folders like reports/quick")
    beside.add_argument("--out", type=Path, help="the page to write, HTML in one file")
    convert = choice.add_parser("convert", help="turn a published checkpoint of Pix2Vox or Pix2Vox++ into safetensors")
    convert.add_argument("checkpoint", type=Path, help="the published .pth")
    convert.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    fetch = choice.add_parser("fetch", help="download the real ShapeNet renderings or Pix3D; resumes")
    fetch.add_argument("name", choices=["shapenet", "pix3d"])
    fetch.add_argument("--root", type=Path, help="where to (default: data/<name>)")
    _add_feet(choice)
    choice.add_parser("weights", help="train the network of rays that comes with the project; resumes")
    for command in (study, data):
        command.add_argument(
            "--scale",
            choices=list(PRESETS),
            default="smoke",
            help="smoke (the default): seconds; quick: two cores; full: a GPU",
        )
    return commands


def _add_feet(choice: argparse._SubParsersAction) -> None:
    """What somebody with a foot and a phone needs."""
    rebuild = choice.add_parser("reconstruct", help="a solid foot from the photos of a capture folder")
    rebuild.add_argument("folder", type=Path, help="photos with cameras.json or rendering_metadata.txt")
    rebuild.add_argument("--out", type=Path, required=True, help=".obj, .glb, .ply (metres), .stl (mm) or .binvox")
    rebuild.add_argument("--size", type=int, choices=[32, 64, 128], default=128, help="voxels a side (default: 128)")
    rebuild.add_argument("--side", choices=["left", "right"], help="which foot, where subject.json does not say it")
    rebuild.add_argument("--placement", choices=["found", "given"], default="found")
    rebuild.add_argument(
        "--cameras", choices=["exact", "noted"], default="exact", help="noted: by hand, to be aligned to the photos"
    )
    rebuild.add_argument("--weights", type=Path, help="default: those that come with the project")
    mat = choice.add_parser("mat", help="a mat to print, that tells photos where they were taken from")
    mat.add_argument("--out", type=Path, required=True, help="the PDF to write")
    mat.add_argument("--paper", default="a3", help="a3 (the default), a4x2, tabloid, letterx2, a4 or letter")
    take = choice.add_parser("capture", help="photos or a film of a foot, or an app's export, as a capture folder")
    take.add_argument(
        "source", type=Path, help="photos, an MP4 or MOV, with --from what an app wrote, with --into also a capture"
    )
    take.add_argument("--mat", default="a3", help="the paper that the mat was printed on (default: a3), or none")
    take.add_argument("--from", dest="app", choices=APPS, help="the app that exported photos with their cameras")
    take.add_argument("--foot-length", type=float, metavar="MM", help="by a ruler, where photos have no scale")
    take.add_argument("--side", choices=["left", "right"], required=True, help="which foot stands on it")
    take.add_argument("--out", type=Path, help="the capture folder to make")
    take.add_argument("--into", type=Path, metavar="TREE", help="the data set to file it in")
    take.add_argument("--subject", metavar="ID", help="who it is in the data set: an id that says nothing to others")
    take.add_argument("--consent", metavar="yes", help="that the person agreed to be in it")
    take.add_argument("--licence", default="CC-BY-4.0", help="of what is filed (default: CC-BY-4.0)")
    check = choice.add_parser("validate", help="look for what is wrong in a data set, or a folder of capture folders")
    check.add_argument("tree", type=Path, help="what capture --into made, or a folder of capture folders")
    tidy = choice.add_parser("clean", help="a scan from an app, made a clean solid foot")
    tidy.add_argument("scan", type=Path, help="mesh, .usdz or .binvox; any unit and direction")
    tidy.add_argument("--unit", choices=["m", "cm", "mm"], help="the scan's unit (default: guessed)")
    tidy.add_argument("--side", choices=["left", "right"], help="which foot it is (default: found)")
    tidy.add_argument("--out", type=Path, required=True, help="the folder to make")
    size_up = choice.add_parser("measure", help="millimetres and shoe sizes of a foot's mesh")
    size_up.add_argument("mesh", type=Path, help="what reconstruct wrote: .obj, .glb, .ply (metres) or .stl (mm)")
    size_up.add_argument("--side", choices=["left", "right"], required=True, help="which foot it is")
    size_up.add_argument("--out", type=Path, help="a picture of where it was measured, PNG")
    size_up.add_argument("--fit", type=Path, help="a picture of its room in shoes of three sizes, PNG")
    judge = choice.add_parser("evaluate", help="how right cameras, scans and measures are on unseen people; resumes")
    judge.add_argument("--share", type=float, default=1.0, help="of its cases, above 0 and at most 1 (default: all)")
    judge.add_argument("--out", type=Path, help="where tables go (default: reports/evaluate)")


def _study(options: argparse.Namespace) -> None:
    told = dict(options.parameters)
    if len(told) < len(options.parameters):
        names = [name for name, _ in options.parameters]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} is given twice; several values stand in one: {twice}=1,2")
    if options.on_error:
        told["on_error"] = [options.on_error]
    if options.jobs or any(len(values) > 1 for values in told.values()):
        from .grid import run_grid

        print(f"page: {run_grid(options.scale, options.only, told, options.jobs or 1)}")
        return
    from .study import run_study

    run_study(options.scale, options.only, {name: values[0] for name, values in told.items()})


def _compare(options: argparse.Namespace) -> int:
    from .compare import compare

    print(compare(options.runs, options.out))
    if options.out:
        print(f"page: {options.out}")
    return 0


def _reconstruct(options: argparse.Namespace) -> int:
    from . import inference, shipped, uncertainty
    from .shots import read_shots

    inference.check_target(options.out)
    weights = shipped.load(options.weights or shipped.path())
    shots = read_shots(options.folder, options.side)
    foot = inference.reconstruct(weights, shots, options.size, options.placement, options.cameras, print)
    try:
        known = uncertainty.sized(weights, shots, foot, options.cameras)
    except ValueError as error:  # what came out is no foot, but it is what came out
        inference.write(foot, options.out)
        print(f"{options.out}: written, but it cannot be measured: {error}")
        return 0
    foot = replace(foot, scale=known.scale)
    inference.write(foot, options.out)
    worst = min(foot.agreement, key=foot.agreement.get)
    has_scale = shots.metric or shots.length is not None
    long = f"{known.measures.length:.0f} mm long" if has_scale else "in proportion only, of no known size"
    print(
        f"{options.out}: {long}; sure of {foot.certainty:.0%} of it; silhouettes agree to "
        f"{sum(foot.agreement.values()) / len(foot.agreement):.2f}, least in {worst} ({foot.agreement[worst]:.2f})"
    )
    if has_scale:
        _tell_sizes(known.measures, known.within)
        return 0
    parts = known.measures.items()[1:]
    print("  of its length: " + ", ".join(f"{name} {value / known.measures.length:.0%}" for name, value in parts))
    print("  these photos have no scale; measure the foot and say capture --foot-length MM, or use the mat")
    return 0


def _tell_sizes(measures: Measures, within: Mapping[str, float] = MappingProxyType({})) -> None:
    """Millimetres and sizes; ``within``: measure -> half of its interval, mm."""
    told = {name.replace("_", " "): f" (± {value:.0f})" for name, value in within.items()}
    print("  " + ", ".join(f"{name} {value:.0f} mm{told.get(name, '')}" for name, value in measures.items()))
    named = sizes(measures.length, measures.ball_breadth, within.get("length", 0.0))
    print("  " + ", ".join(f"{name} {size}" for name, size in named.items()))


def _measure(options: argparse.Namespace) -> int:
    from . import last, viewer
    from .conventions import UNITS
    from .files import write_atomically
    from .phone.scans import read_scan

    mesh = read_scan(options.mesh)
    if options.mesh.suffix.lower() == ".stl":
        mesh.apply_scale(UNITS["mm"])
    measures, marks = measure.measure(mesh, options.side)
    print(f"{options.mesh}:")
    _tell_sizes(measures)
    if options.out:
        figure = viewer.measured(mesh, measures, marks, f"{options.mesh.name}, {options.side} foot, millimetres")
        write_atomically(options.out, lambda partial: figure.savefig(partial, dpi=110, format="png"))
    if options.fit:
        figure = viewer.fit_map(last.fits(mesh, options.side), f"{options.mesh.name}, {options.side} foot")
        write_atomically(options.fit, lambda partial: figure.savefig(partial, dpi=130, format="png"))
    return 0


def _mat(options: argparse.Namespace) -> int:
    from .capture.mat import mat_for
    from .phone.printing import print_mat

    mat = mat_for(options.paper)
    print_mat(mat, options.out)
    sheets = f"{mat.sheets} sheets" if mat.sheets > 1 else "one sheet"
    width, height = mat.sheet
    print(f"{options.out}: {sheets} of {width:.0f} x {height:.0f} mm and a page of instructions; print at 100 %")
    return 0


def _capture(options: argparse.Namespace) -> int:
    if options.into:
        return _file(options)
    if not options.out or options.subject or options.consent:
        raise ValueError("where to? say --out CAPTURE_FOLDER, or --into TREE to file it in a data set under --subject")
    _take(options, options.out)
    print(f"{options.out / 'coverage.png'} shows from where they were taken; next:")
    print(f"  python -m p2vlib reconstruct {options.out} --out foot.obj")
    return 0


def _take(options: argparse.Namespace, out: Path) -> None:
    from . import shipped
    from .phone.sense import nonsense_in

    taken = _taken(options, out)
    print("; ".join([f"{options.source}: {taken.verdict}", f"{len(taken.rows)} photos", *taken.notes]))
    for line in taken.advice + nonsense_in(out, options.side, shipped.load(shipped.path())):
        print(f"  {line}")


def _file(options: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from .phone.filing import Filing, file_capture

    filing = Filing(options.into, options.subject, options.side, options.consent, options.licence)
    filing.check_new()
    with TemporaryDirectory() as folder:
        capture = options.source
        if not (capture / "subject.json").is_file():
            capture = options.out or Path(folder) / filing.name
            _take(options, capture)
        file_capture(capture, filing, print)
    print(f"{filing.folder}: filed under {filing.licence}, for {filing.split}; next:")
    print(f"  python -m p2vlib validate {options.into}")
    return 0


def _validate(options: argparse.Namespace) -> int:
    from . import shipped
    from .phone.validation import validate

    found = validate(options.tree, shipped.load(shipped.path()))
    print(found.table.to_string(index=False))
    for problem in found.problems:
        print(problem)
    return 1 if found.problems else 0


def _taken(options: argparse.Namespace, out: Path) -> Intake:
    """Files what the mat, an app, or structure from motion placed."""
    if not options.app and options.mat != "none":
        from .capture.mat import mat_for
        from .phone import intake

        if options.foot_length:
            raise ValueError("the mat tells how long the foot is; leave --foot-length away")
        return intake.take(options.source, mat_for(options.mat), options.side, out, print)
    from . import shipped
    from .files import check_new
    from .phone.exports import read_export
    from .phone.placing import check_length, file_export
    from .phone.plain import read_plain

    check_new(out)
    check_length(options.foot_length)
    export = read_export(options.app, options.source) if options.app else read_plain(options.source, print)
    return file_export(export, options.side, out, shipped.load(shipped.path()), options.foot_length, print)


def _clean(options: argparse.Namespace) -> int:
    from . import shipped
    from .files import check_new
    from .phone.clean import clean, file_scan
    from .phone.scans import read_scan

    check_new(options.out)
    scan = read_scan(options.scan)
    cleaned = clean(scan, shipped.load(shipped.path()).typical.solid.numpy(), options.unit)
    if options.side and options.side != cleaned.side:
        cleaned.notes.append(f"looks like a {cleaned.side} foot; filed as {options.side}, as told")
        cleaned = replace(cleaned, side=options.side)
    file_scan(cleaned, scan, options.out)
    print(f"{options.out}: " + "; ".join(cleaned.notes))
    print(f"{options.out / 'cleaned.png'} shows before and after; next:")
    print(f"  python -m p2vlib measure {options.out / 'model.obj'} --side {cleaned.side}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from .evaluate.run import evaluate
    from .report.evaluation import build_evaluation

    print(build_evaluation(evaluate(options.share, options.out)))
    return 0


def _report(options: argparse.Namespace) -> int:
    if options.run == "evaluate":
        from .report.evaluation import build_evaluation

        print(build_evaluation())
    else:
        from . import report

        print(report.build(options.run))
    return 0


def _weights() -> int:
    """Trains and tests the weights of the project; what a capture folder of an unseen foot gives is in their card."""
    from . import config, shipped, trial

    path = shipped.make()
    print(path)
    print(trial.complete(path, config.shipped()))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "fetch":
            from .fetch import fetch

            fetch(options.name, options.root)
            return 0
        if options.command == "convert":
            from .models import load_published

            found = load_published(options.checkpoint)
            found.save(options.out)
            print(f"{options.out}: {found.name}; left out: {', '.join(found.left_out) or 'nothing'}")
            return 0
        commands = {
            "weights": lambda _: _weights(),
            "reconstruct": _reconstruct,
            "mat": _mat,
            "capture": _capture,
            "validate": _validate,
            "measure": _measure,
            "clean": _clean,
            "evaluate": _evaluate,
            "report": _report,
            "compare": _compare,
        }
        if options.command in commands:
            return commands[options.command](options)
        if options.command == "data":
            from .study import build_data

            build_data(options.scale)
        else:
            _study(options)
    except KeyboardInterrupt:
        print("p2vlib: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            raise
        told = str(error) if isinstance(error, ValueError | OSError | RuntimeError) else repr(error)
        print(f"p2vlib: {told}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
