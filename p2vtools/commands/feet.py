"""Commands for a foot: from a printed mat and photos, or from a scan, to millimetres and shoe sizes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING

from p2vtools.capture.app_formats import APPS
from p2vtools.synthesis.mat import DEFAULT_PAPER, MATS

if TYPE_CHECKING:
    from p2vtools.capture.capture_writer import WrittenCapture
    from p2vtools.fit.measure import Measures


def add(choice: argparse._SubParsersAction) -> None:
    """Adds the commands, each with the function that does it as ``act``."""
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
    rebuild.set_defaults(act=_reconstruct)
    mat = choice.add_parser("mat", help="a mat to print, that tells photos where they were taken from")
    mat.add_argument("--out", type=Path, required=True, help="the PDF to write")
    mat.add_argument("--paper", default=DEFAULT_PAPER, help=f"{', '.join(MATS)} (default: {DEFAULT_PAPER})")
    mat.set_defaults(act=_mat)
    take = choice.add_parser("capture", help="photos or a film of a foot, or an app's export, as a capture folder")
    take.add_argument(
        "source", type=Path, help="photos, an MP4 or MOV, with --from what an app wrote, with --into also a capture"
    )
    take.add_argument("--mat", default=DEFAULT_PAPER, help=f"the paper of the mat (default: {DEFAULT_PAPER}), or none")
    take.add_argument("--from", dest="app", choices=APPS, help="the app that exported photos with their cameras")
    take.add_argument("--foot-length", type=float, metavar="MM", help="by a ruler, where photos have no scale")
    take.add_argument("--side", choices=["left", "right"], required=True, help="which foot stands on it")
    take.add_argument("--out", type=Path, help="the capture folder to make")
    take.add_argument("--into", type=Path, metavar="TREE", help="the data set to file it in")
    take.add_argument("--subject", metavar="ID", help="who it is in the data set: an id that says nothing to others")
    take.add_argument("--consent", metavar="yes", help="that the person agreed to be in it")
    take.add_argument("--licence", default="CC-BY-4.0", help="of what is filed (default: CC-BY-4.0)")
    take.set_defaults(act=_capture)
    check = choice.add_parser("validate", help="look for what is wrong in a data set, or a folder of capture folders")
    check.add_argument("tree", type=Path, help="what capture --into made, or a folder of capture folders")
    check.set_defaults(act=_validate)
    tidy = choice.add_parser("clean", help="a scan from an app, made a clean solid foot")
    tidy.add_argument("scan", type=Path, help="mesh, .usdz or .binvox; any unit and direction")
    tidy.add_argument("--unit", choices=["m", "cm", "mm"], help="the scan's unit (default: guessed)")
    tidy.add_argument("--side", choices=["left", "right"], help="which foot it is (default: found)")
    tidy.add_argument("--out", type=Path, required=True, help="the folder to make")
    tidy.set_defaults(act=_clean)
    size_up = choice.add_parser("measure", help="millimetres and shoe sizes of a foot's mesh")
    size_up.add_argument("mesh", type=Path, help="what reconstruct wrote: .obj, .glb, .ply (metres) or .stl (mm)")
    size_up.add_argument("--side", choices=["left", "right"], required=True, help="which foot it is")
    size_up.add_argument("--out", type=Path, help="a picture of where it was measured, PNG")
    size_up.add_argument("--fit", type=Path, help="a picture of its room in shoes of three sizes, PNG")
    size_up.set_defaults(act=_measure)


def _reconstruct(options: argparse.Namespace) -> None:
    from p2vlib.data.capture_folder import read_photo_set
    from p2vtools.fit import pretrained, reconstruct, uncertainty

    reconstruct.check_output_path(options.out)
    weights = pretrained.load_pretrained(options.weights)
    shots = read_photo_set(options.folder, options.side)
    foot = reconstruct.reconstruct(weights, shots, options.size, options.placement, options.cameras, print)
    try:
        known = uncertainty.measure_with_intervals(weights, shots, foot, options.cameras)
    except ValueError as error:  # what came out is no foot, but it is what came out
        reconstruct.write_foot(foot, options.out)
        print(f"{options.out}: written, but it cannot be measured: {error}")
        return
    foot = replace(foot, scale=known.scale)
    reconstruct.write_foot(foot, options.out)
    worst = min(foot.agreement, key=foot.agreement.get)
    has_scale = shots.metric or shots.length is not None
    long = f"{known.measures.length:.0f} mm long" if has_scale else "in proportion only, of no known size"
    print(
        f"{options.out}: {long}; sure of {foot.certainty:.0%} of it; silhouettes agree to "
        f"{sum(foot.agreement.values()) / len(foot.agreement):.2f}, least in {worst} ({foot.agreement[worst]:.2f})"
    )
    if has_scale:
        _tell_sizes(known.measures, known.half_widths)
        return
    parts = known.measures.items()[1:]
    print("  of its length: " + ", ".join(f"{name} {value / known.measures.length:.0%}" for name, value in parts))
    print("  these photos have no scale; measure the foot and say capture --foot-length MM, or use the mat")


def _tell_sizes(measures: Measures, within: Mapping[str, float] = MappingProxyType({})) -> None:
    """Millimetres and sizes; ``within``: measure -> half of its interval, mm."""
    from p2vtools.fit.measure import shoe_sizes

    told = {name.replace("_", " "): f" (± {value:.0f})" for name, value in within.items()}
    print("  " + ", ".join(f"{name} {value:.0f} mm{told.get(name, '')}" for name, value in measures.items()))
    named = shoe_sizes(measures.length, measures.ball_breadth, within.get("length", 0.0))
    print("  " + ", ".join(f"{name} {size}" for name, size in named.items()))


def _measure(options: argparse.Namespace) -> None:
    from p2vlib.files import write_atomically
    from p2vlib.geometry.frames import UNITS
    from p2vtools import viewer
    from p2vtools.capture.sanity_checks import side_of_mesh
    from p2vtools.capture.scan_files import read_scan
    from p2vtools.fit import measure, pretrained, shoe_last

    mesh = read_scan(options.mesh)
    if options.mesh.suffix.lower() == ".stl":
        mesh.apply_scale(UNITS["mm"])
    measures, marks = measure.measure_foot(mesh, options.side)
    print(f"{options.mesh}:")
    _tell_sizes(measures)
    if (seen := side_of_mesh(mesh, pretrained.load_pretrained())) not in (options.side, None):
        print(f"  it looks like a {seen} foot, and was measured as a {options.side} one, as told")
    if options.out:
        figure = viewer.measurement_figure(
            mesh, measures, marks, f"{options.mesh.name}, {options.side} foot, millimetres"
        )
        write_atomically(options.out, lambda partial: figure.savefig(partial, dpi=110, format="png"))
    if options.fit:
        figure = viewer.fit_map(shoe_last.fit_shoes(mesh, options.side), f"{options.mesh.name}, {options.side} foot")
        write_atomically(options.fit, lambda partial: figure.savefig(partial, dpi=130, format="png"))


def _mat(options: argparse.Namespace) -> None:
    from p2vtools.capture.mat_printing import write_mat_pdf
    from p2vtools.synthesis.mat import get_mat

    mat = get_mat(options.paper)
    write_mat_pdf(mat, options.out)
    sheets = f"{mat.sheets} sheets" if mat.sheets > 1 else "one sheet"
    width, height = mat.sheet_size
    print(f"{options.out}: {sheets} of {width:.0f} x {height:.0f} mm and a page of instructions; print at 100 %")


def _capture(options: argparse.Namespace) -> None:
    if options.into:
        _file(options)
        return
    if not options.out or options.subject or options.consent:
        raise ValueError("where to? say --out CAPTURE_FOLDER, or --into TREE to file it in a data set under --subject")
    _take(options, options.out)
    print(f"{options.out / 'coverage.png'} shows from where they were taken; next:")
    print(f"  python -m p2vtools reconstruct {options.out} --out foot.obj")


def _take(options: argparse.Namespace, out: Path) -> None:
    from p2vtools.capture.sanity_checks import photo_problems
    from p2vtools.fit import pretrained

    taken = _taken(options, out)
    print("; ".join([f"{options.source}: {taken.quality}", f"{len(taken.rows)} photos", *taken.notes]))
    for line in taken.advice + photo_problems(out, options.side, pretrained.load_pretrained()):
        print(f"  {line}")


def _taken(options: argparse.Namespace, out: Path) -> WrittenCapture:
    """Files what the mat, an app, or structure from motion placed."""
    if not options.app and options.mat.lower() != "none":
        from p2vtools.capture import mat_capture
        from p2vtools.synthesis.mat import get_mat

        if options.foot_length:
            raise ValueError("the mat tells how long the foot is; leave --foot-length away")
        return mat_capture.capture_on_mat(options.source, get_mat(options.mat), options.side, out, print)
    from p2vlib.files import ensure_absent
    from p2vtools.capture.app_exports import read_export
    from p2vtools.capture.export_capture import capture_from_export, check_length
    from p2vtools.capture.sfm import read_photos_without_mat
    from p2vtools.fit import pretrained

    ensure_absent(out)
    check_length(options.foot_length)
    export = read_export(options.app, options.source) if options.app else read_photos_without_mat(options.source, print)
    return capture_from_export(export, options.side, out, pretrained.load_pretrained(), options.foot_length, print)


def _file(options: argparse.Namespace) -> None:
    from p2vtools.capture.submission import Submission, submit_capture

    filing = Submission(options.into, options.subject, options.side, options.consent, options.licence)
    filing.ensure_absent()
    with TemporaryDirectory() as folder:
        capture = options.source
        if not (capture / "subject.json").is_file():
            capture = options.out or Path(folder) / filing.name
            _take(options, capture)
        submit_capture(capture, filing, print)
    print(f"{filing.folder}: filed under {filing.licence}, for {filing.split}; next:")
    print(f"  python -m p2vtools validate {options.into}")


def _validate(options: argparse.Namespace) -> int:
    from p2vtools.capture.dataset_validation import validate_dataset
    from p2vtools.fit import pretrained

    found = validate_dataset(options.tree, pretrained.load_pretrained())
    print(found.table.to_string(index=False))
    for problem in found.problems:
        print(problem)
    return int(bool(found.problems))


def _clean(options: argparse.Namespace) -> None:
    from p2vlib.files import ensure_absent
    from p2vtools import viewer
    from p2vtools.capture.scan_cleaning import clean_scan, write_scan_capture
    from p2vtools.capture.scan_files import decimate, read_scan
    from p2vtools.fit import pretrained

    ensure_absent(options.out)
    scan = read_scan(options.scan)
    cleaned = clean_scan(scan, pretrained.load_pretrained().typical_foot.solid.numpy(), options.unit)
    if options.side and options.side != cleaned.side:
        cleaned.notes.append(f"looks like a {cleaned.side} foot; filed as {options.side}, as told")
        cleaned = replace(cleaned, side=options.side)
    before, after = decimate(scan.apply_transform(cleaned.to_foot), 60_000), decimate(cleaned.mesh, 60_000)
    figure = viewer.cleaning_figure(before, after)
    write_scan_capture(cleaned, options.out, lambda folder: figure.savefig(folder / "cleaned.png", dpi=110))
    print(f"{options.out}: " + "; ".join(cleaned.notes))
    print(f"{options.out / 'cleaned.png'} shows before and after; next:")
    print(f"  python -m p2vtools measure {options.out / 'model.obj'} --side {cleaned.side}")
