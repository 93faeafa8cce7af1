"""Commands for a foot: from a printed mat and photos, or from a scan, to measures in mm and shoe sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer
from typer import Argument, Option

from p2vlib import progress
from p2vtools.capture.app_formats import APPS
from p2vtools.cli.values import number

if TYPE_CHECKING:
    from p2vtools.capture.capture_writer import WrittenCapture
    from p2vtools.fit.measure import Measures

PAPER = "a4x2"
"""The paper on which a mat is printed, and expected in photos, by default."""

NO_SCALE = (
    "photograph the foot on a sheet of paper (--sheet a4) or the mat (p2v mat), or pass its length (--foot-length MM)"
)
"""What to do if the scale of a foot is unknown."""

ASSUMED_RULER = "; its ruler is assumed to be 100 mm long: measure it and pass --ruler MM"

Millimetres = partial(Option, parser=number, metavar="MM")

Side = Annotated[Literal["left", "right"], Option(case_sensitive=False, help="which foot it is", show_default=False)]


def reconstruct(
    folder: Annotated[Path, Argument(help="a capture folder: photos with cameras.json or rendering_metadata.txt")],
    out: Annotated[Path, Option(help=".obj, .glb, .ply (metres), .stl (mm) or .binvox", show_default=False)],
    size: Annotated[Literal[32, 64, 128], Option(help="voxels along each edge")] = 128,
    side: Annotated[
        Literal["left", "right"] | None, Option(case_sensitive=False, help="which foot, if subject.json does not say")
    ] = None,
    placement: Annotated[Literal["found", "given"], Option(help="search for the foot, or use the cube")] = "found",
    cameras: Annotated[
        Literal["exact", "noted"], Option(help="noted: measured by hand, to be aligned to the photos")
    ] = "exact",
    weights: Annotated[Path | None, Option(help="default: the weights that come with the project")] = None,
    force: Annotated[bool, Option("--force", help="write the foot even if it is not usable")] = False,
) -> None:
    """Reconstruct a solid foot from a capture folder. Exit status 1 if it is not usable."""
    from p2vtools.archives.capture_folder import read_subject
    from p2vtools.fit import pretrained, records, verdict
    from p2vtools.fit.photo_set import read_photo_set
    from p2vtools.fit.reconstruct import OUTPUT_FORMATS, write_foot

    _check_suffix(out, *OUTPUT_FORMATS)
    records.check_record_path(out)
    recorded = read_subject(folder).get("side")
    if side and recorded in ("left", "right") and recorded != side:
        raise ValueError(f"{folder}: subject.json says {recorded} foot; drop --side {side}, or correct subject.json")
    network = pretrained.load_pretrained(weights)
    details: list[str] = []
    judged = verdict.reconstruct_and_judge(
        network, read_photo_set(folder, side), size, placement, cameras, details.append
    )
    result = judged.verdict
    if result.level == "not usable" and not force:
        raise ValueError(
            f"{folder}: not usable, nothing was written: {'; '.join(result.reasons)}. What to do: "
            f"{'; '.join(result.advice)}; or pass --force to write it"
        )
    write_foot(judged.foot, out)
    record = records.write_record(judged, out, cameras, network.card.get("commit", "unknown"))
    overlap = judged.foot.silhouette_iou
    details.append(
        f"expected IoU {result.expected_iou:.2f}; mean silhouette IoU {sum(overlap.values()) / len(overlap):.2f}"
    )
    progress.log(f"{out}: {result.level}")
    if judged.measured:
        _print_measures(judged.measured.measures, record.scale, record.half_widths)
    for line in [*result.reasons, "details:", *(f"  {detail}" for detail in details)]:
        progress.log(f"  {line}")


def measure(
    mesh: Annotated[Path, Argument(help="a mesh as reconstruct writes it: .obj, .glb, .ply (metres) or .stl (mm)")],
    side: Side,
    out: Annotated[Path | None, Option(help="also draw where it was measured, PNG")] = None,
    fit: Annotated[Path | None, Option(help="also draw its room in shoes of three sizes, PNG")] = None,
) -> None:
    """Print the measures and shoe sizes of a foot's mesh. A reconstructed foot has intervals."""
    from p2vlib.files import write_atomically
    from p2vlib.geometry.frames import UNITS
    from p2vtools.capture.sanity_checks import side_of_mesh
    from p2vtools.capture.scan_files import read_scan
    from p2vtools.fit import pretrained, records, shoe_last
    from p2vtools.fit.measure import measure_foot

    for path in filter(None, (out, fit)):
        _check_suffix(path, ".png")
    foot, record = read_scan(mesh), records.read_record(mesh)
    if mesh.suffix.lower() == ".stl":
        foot.apply_scale(UNITS["mm"])
    if record and record.side != side:
        raise ValueError(f"{mesh}: was reconstructed as a {record.side} foot; pass --side {record.side}, not {side}")
    scale = record.scale if record else _scale_without_record(mesh)
    if fit and scale == "unknown":
        raise ValueError(f"{mesh}: its size is unknown, so it cannot be fitted into shoes; {NO_SCALE}")
    weights = pretrained.load_pretrained()
    try:
        (measures, landmarks), apparent = measure_foot(foot, side), side_of_mesh(foot, weights)
    except ValueError as error:
        raise ValueError(f"{mesh}: {error}; if it is a scan, clean it first: p2v clean {mesh} --out SCAN") from error
    progress.log(f"{mesh}:")
    if record:
        progress.log("; ".join([f"  a reconstruction, {record.verdict}", *record.reasons]))
        measures, landmarks = replace(measures, arch_height=None), replace(landmarks, arch=None)
        _print_measures(measures, scale, record.half_widths)
    else:
        _print_measures(measures, scale)
        progress.log("  no interval: this mesh has no record of how it was made, so its uncertainty is unknown")
    if apparent != side:
        progress.log(f"  it looks like a {apparent} foot; measured as a {side} one, as given by --side")
    if out or fit:
        from p2vtools import viewer
    if out:
        unit = "share of its length" if scale == "unknown" else "millimetres"
        title = f"{mesh.name}, {side} foot, {unit}"
        figure = viewer.measurement_figure(foot, measures, landmarks, title, scale != "unknown")
        write_atomically(out, lambda partial: figure.savefig(partial, dpi=110, format="png"))
    if fit:
        figure = viewer.fit_map(shoe_last.fit_shoes(foot, side), f"{mesh.name}, {side} foot")
        write_atomically(fit, lambda partial: figure.savefig(partial, dpi=130, format="png"))


def _scale_without_record(mesh: Path) -> str:
    """Where the scale of a mesh without a valid record comes from: as its capture folder says, or its own unit."""
    from p2vtools.archives.capture_folder import read_subject
    from p2vtools.fit import records
    from p2vtools.fit.photo_set import scale_of

    if records.was_without_scale(mesh):
        return "unknown"
    subject = read_subject(mesh.parent) if mesh.name == "model.obj" else {}
    return scale_of(mesh.parent, subject) if subject else "file"


def _check_suffix(path: Path, *suffixes: str) -> None:
    if path.suffix.lower() not in suffixes:
        found = path.suffix or "a file without suffix"
        raise ValueError(f"{path}: cannot write {found}; expected {', '.join(suffixes)}")


def _print_measures(measures: Measures, scale: str, half_widths: Mapping[str, float] = MappingProxyType({})) -> None:
    """Prints measures in mm and sizes, or proportions if ``scale`` is unknown.

    Args:
        half_widths: measure -> half of its interval, mm, or as a share of the length if ``scale`` is unknown.
    """
    from p2vtools.fit.measure import shoe_sizes

    halves, length = {name.replace("_", " "): value for name, value in half_widths.items()}, measures.length
    if measures.not_reached:
        print(f"  not reached, the scan ends below: {', '.join(measures.not_reached)}")
    if scale != "unknown":
        intervals = {name: f" (± {value:.0f})" for name, value in halves.items()}
        try:
            sizes = shoe_sizes(length, measures.ball_breadth, halves.get("length", 0.0))
            common = sorted(sizes, key=lambda name: name == "Mondopoint")  # which few people know, comes last
            progress.log("  size: " + ", ".join(f"{name} {sizes[name]}" for name in common))
        except ValueError as error:
            progress.log(f"  no sizes: {error}")
        progress.log(
            "  " + ", ".join(f"{name} {value:.0f} mm{intervals.get(name, '')}" for name, value in measures.items())
        )
        progress.log(_describe_scale(scale))
        return
    relative = {name: f" (± {100 * value:.0f})" for name, value in halves.items()}
    others = [f"{name} {value / length:.0%}{relative.get(name, '')}" for name, value in measures.items()[1:]]
    progress.log("  proportions only, the size of the mesh is arbitrary; relative to its length: " + ", ".join(others))
    progress.log(_describe_scale(scale))


def _describe_scale(scale: str) -> str:
    from p2vtools.fit.photo_set import SCALES

    return f"  scale: {SCALES[scale]}" + (f"; {NO_SCALE}" if scale == "unknown" else "")


def mat(
    out: Annotated[Path, Option(help="the PDF to write", show_default=False)],
    paper: Annotated[str, Option(help="a3, a4x2 (two sheets, glued), tabloid, letterx2, a4 or letter")] = PAPER,
) -> None:
    """Write a mat to print. The camera of each photo is measured from it."""
    from p2vtools.capture.mat_printing import write_mat_pdf
    from p2vtools.synthesis.mat import get_mat

    board = get_mat(paper.lower())
    _check_suffix(out, ".pdf")
    write_mat_pdf(board, out)
    sheets = f"{board.sheets} sheets" if board.sheets > 1 else "one sheet"
    width, height = board.sheet_size
    progress.log(f"{out}: {sheets} of {width:.0f} x {height:.0f} mm and a page of instructions; print at 100 %")


class Source(NamedTuple):
    """What to make a capture folder from, and how its cameras are found."""

    path: Path
    side: str
    paper: str
    """The paper of the mat, or ``none``."""
    app: str | None
    foot_length: float | None
    """Millimetres, for photos without scale."""
    ruler: float | None
    """Measured length of the ruler on the mat, millimetres."""
    sheet: str | None
    """The plain sheet of paper under the foot, instead of a mat."""


def capture(
    source: Annotated[Path, Argument(help="photos, an MP4 or MOV, an app's export (--from), or a capture folder")],
    side: Side,
    paper: Annotated[str, Option("--mat", help="the paper that the mat is printed on, or none")] = PAPER,
    sheet: Annotated[
        Literal["a4", "letter"] | None,
        Option(
            case_sensitive=False,
            help="instead of a mat: the plain white sheet under the foot (no video)",
        ),
    ] = None,
    app: Annotated[
        Literal[APPS] | None,
        Option("--from", help="the app that exported photos and cameras; for a mesh alone: p2v clean"),
    ] = None,
    foot_length: Annotated[float | None, Millimetres(help="the length by a ruler, for photos without scale")] = None,
    ruler: Annotated[
        float | None, Millimetres(help="the length of the 100 mm ruler on the printed mat, as measured")
    ] = None,
    out: Annotated[Path | None, Option(help="the capture folder to write")] = None,
    into: Annotated[Path | None, Option(metavar="TREE", help="the data set to submit the capture to")] = None,
    subject: Annotated[str | None, Option(metavar="ID", help="the person's pseudonym in the data set")] = None,
    consent: Annotated[str | None, Option(metavar="yes", help="the person has agreed to be in the data set")] = None,
    licence: Annotated[str, Option(help="the licence of the submitted capture")] = "CC-BY-4.0",
) -> None:
    """Make a capture folder from photos, a video or an export. With --into, submit it."""
    origin = Source(source, side, paper.lower(), app, foot_length, ruler, sheet)
    if into:
        _submit(origin, into, subject, consent, licence, out)
    elif subject or consent:
        raise ValueError("--subject and --consent are for a data set: pass --into TREE as well, or remove them")
    elif not out:
        raise ValueError("no destination: pass --out CAPTURE_FOLDER or --into TREE")
    else:
        _make_capture(origin, out)
        progress.log(f"{out / 'coverage.png'} shows the directions of the photos; next:")
        progress.log(f"  p2v reconstruct {out} --out foot.obj")


def _submit(
    source: Source, tree: Path, subject: str | None, consent: str | None, licence: str, out: Path | None
) -> None:
    from p2vtools.archives.capture_folder import read_subject
    from p2vtools.capture.submission import Submission, submit_capture

    submission = Submission(tree, subject, source.side, consent, licence)
    if submission.finish_interrupted():
        progress.log(f"{submission.folder}: finishes a submission that was interrupted")
    else:
        with TemporaryDirectory() as folder:
            made = source.path
            if not (made / "subject.json").is_file():
                made = out or Path(folder) / submission.name
                _make_capture(source, made)
            submit_capture(made, submission, progress.log)
    licence = read_subject(submission.folder).get("licence")  # of the first command, if this one has finished it
    progress.log(f"{submission.folder}: submitted under {licence}, split {submission.split}; next:")
    progress.log(f"  p2v validate {tree}")


def _make_capture(source: Source, out: Path) -> None:
    from p2vtools.capture.sanity_checks import photo_problems
    from p2vtools.fit import pretrained

    written = _with_cameras(source, out)
    progress.log(f"{source.path}: {written.quality}; {len(written.rows)} photos")
    progress.log(
        _describe_scale(written.scale) + (ASSUMED_RULER if written.scale == "mat" and not source.ruler else "")
    )
    problems = photo_problems(out, source.side, pretrained.load_pretrained())
    for line in [*written.advice, *problems, *(f"details: {note}" for note in written.notes)]:
        progress.log(f"  {line}")


def _with_cameras(source: Source, out: Path) -> WrittenCapture:
    """Writes the capture folder with cameras from the mat, a sheet of paper, an app or structure from motion."""
    from p2vtools.fit import pretrained

    if source.sheet:
        from p2vtools.capture.sheet_capture import capture_on_sheet

        given = {"--from": source.app, "--foot-length": source.foot_length, "--ruler": source.ruler}
        given["--mat"] = None if source.paper == PAPER else source.paper
        if wrong := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{wrong[0]} is not needed with --sheet, which gives the scale; remove one of them")
        weights = pretrained.load_pretrained()
        return capture_on_sheet(source.path, source.sheet, source.side, out, weights, progress.log)
    if not source.app and source.paper != "none":
        from p2vtools.capture import mat_capture
        from p2vtools.synthesis.mat import RULER, get_mat

        if source.foot_length:
            raise ValueError("--foot-length is not needed with a mat: remove it, or pass --mat none if there is no mat")
        ruler = RULER if source.ruler is None else source.ruler
        return mat_capture.capture_on_mat(source.path, get_mat(source.paper), source.side, out, progress.log, ruler)
    if source.ruler is not None:
        raise ValueError("--ruler is the ruler on a mat; remove it, or pass the paper of the mat with --mat")
    if source.app and source.paper not in (PAPER, "none"):
        raise ValueError("--mat is not needed with --from, which gives the cameras and the scale; remove one of them")
    from p2vtools.capture.app_exports import read_export
    from p2vtools.capture.export_capture import capture_from_export
    from p2vtools.capture.sfm import read_photos_without_mat
    from p2vtools.files import ensure_absent
    from p2vtools.fit.photo_set import check_foot_length

    ensure_absent(out)
    if source.foot_length is not None:
        check_foot_length(source.foot_length, "--foot-length")
    weights = pretrained.load_pretrained()
    export = read_export(source.app, source.path) if source.app else read_photos_without_mat(source.path, progress.log)
    return capture_from_export(export, source.side, out, weights, source.foot_length, progress.log)


def validate(
    tree: Annotated[Path, Argument(help="a data set made by capture --into, or a folder of capture folders")],
) -> None:
    """Find missing, broken or implausible captures. Exit status 1 if there are any in the data set."""
    from p2vtools.capture.dataset_validation import validate_dataset
    from p2vtools.fit import pretrained

    validation = validate_dataset(tree, pretrained.load_pretrained())
    progress.log(validation.table.to_string(index=False))
    for problem in validation.problems:
        progress.log(problem)
    if validation.problems:
        raise typer.Exit(1)


def clean(
    scan: Annotated[Path, Argument(help="a mesh, .usdz or .binvox file in any unit and orientation")],
    out: Annotated[Path, Option(help="the folder to write", show_default=False)],
    unit: Annotated[
        Literal["m", "cm", "mm", "inch"] | None, Option(help="the unit of the scan (default: estimated)")
    ] = None,
    foot_length: Annotated[float | None, Millimetres(help="the length by a ruler, to which the scan is scaled")] = None,
    side: Annotated[
        Literal["left", "right"] | None, Option(case_sensitive=False, help="which foot it is (default: estimated)")
    ] = None,
) -> None:
    """Make a watertight foot from a scan of an app. It stands in the frame of the project, toes to +x."""
    from p2vtools import viewer
    from p2vtools.capture.scan_cleaning import clean_scan, write_scan_capture
    from p2vtools.capture.scan_files import decimate, read_scan
    from p2vtools.files import ensure_absent
    from p2vtools.fit import pretrained
    from p2vtools.fit.photo_set import check_foot_length

    ensure_absent(out)
    length = None if foot_length is None else check_foot_length(foot_length, "--foot-length") / 1000
    raw = read_scan(scan)
    try:
        cleaned = clean_scan(raw, pretrained.load_pretrained().typical_foot.solid.numpy(), unit, length)
    except ValueError as error:
        raise ValueError(f"{scan}: {error}") from error
    if side and side != cleaned.side:
        cleaned.notes.append(f"looks like a {cleaned.side} foot; saved as {side}, as given by --side")
        cleaned = replace(cleaned, side=side)
    before, after = decimate(raw.apply_transform(cleaned.to_foot), 60_000), decimate(cleaned.mesh, 60_000)
    figure = viewer.cleaning_figure(before, after)
    write_scan_capture(cleaned, out, lambda folder: figure.savefig(folder / "cleaned.png", dpi=110))
    progress.log(f"{out}: " + "; ".join(cleaned.notes))
    progress.log(f"{out / 'cleaned.png'} shows the scan before and after; next:")
    progress.log(f"  p2v measure {out / 'model.obj'} --side {cleaned.side}")


def app(
    lan: Annotated[bool, Option("--lan", help="also for other devices in the home network, such as a phone")] = False,
    port: Annotated[int, Option(min=1, max=65535, help="the first port to try")] = 8866,
    browser: Annotated[bool, Option(help="open the page in a browser of this machine")] = True,
) -> None:
    """Open the page from photos to a shoe size in a browser. Ctrl-C ends it and deletes all photos."""
    from p2vtools.webapp.server import serve

    serve(lan, port, browser)
