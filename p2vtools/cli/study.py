"""Commands of the study: its data, its notebooks and pages, the archives and the weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from p2vlib.config import PRESETS
from p2vtools.cli.values import number

Scale = Annotated[
    Literal[tuple(PRESETS)],
    Option(help="smoke: seconds, shows that it runs; quick: results on two CPU cores; full: published sizes on a GPU"),
]

Scheduler = Annotated[
    str | None,
    Option(metavar="tcp://HOST:PORT", help="let the workers of this Dask scheduler do it (docs/many-machines.md)"),
]


def study(
    scale: Scale = "smoke",
    only: Annotated[str | None, Option(metavar="NN,NN", help="only these notebooks")] = None,
    parameters: Annotated[
        list[str],
        Option(
            "-p",
            metavar="[NN.]NAME=VALUE[,VALUE]",
            help="a parameter of all notebooks that declare it (seed=1) or of one (05.views=2). Several values "
            "(05.views=2,4) start a sweep: one run per combination below reports/grids, compared at the end; a list "
            "in brackets is one value",
        ),
    ] = [],  # noqa: B006 (never changed)
    jobs: Annotated[int, Option(min=1, help="runs of a sweep at the same time; they share the cores")] = 1,
    on_error: Annotated[
        Literal["stop", "skip"] | None,
        Option(help="for real archives (notebook 03): stop at a file that cannot be read, or skip it and list it"),
    ] = None,
    scheduler: Scheduler = None,
    yes: Annotated[bool, Option("--yes", help="start scale full, whose cost is otherwise only printed")] = False,
) -> None:
    """Run the notebooks in order and build the report. It resumes after an interruption."""
    from p2vtools.study import runner, sweep

    sys.path.append(str(Path.cwd()))  # for networks of the user; only `python -m` does so by itself
    values = _parameters(parameters, on_error)
    numbers = None if only is None else [number.strip() for number in only.split(",") if number.strip()]
    if not runner.confirm_cost(scale, numbers, yes):
        raise typer.Exit(1)
    if jobs > 1 or scheduler or any(len(several) > 1 for several in values.values()):
        print(f"page: {sweep.run_sweep(scale, numbers, values, jobs, scheduler)}")
    else:
        page = runner.run_study(scale, numbers, {name: one for name, (one,) in values.items()})
        print(f"report: {page}")


def _parameters(texts: list[str], on_error: str | None) -> dict[str, list[Any]]:
    """The values of each ``-p`` option, and of ``--on-error``, which is a shorthand for one."""
    from p2vtools.study.parameters import parse_parameter

    values: dict[str, list[Any]] = {"on_error": [on_error]} if on_error else {}
    for text in texts:
        try:
            name, several = parse_parameter(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if name in values:
            raise typer.BadParameter(f"{name} is given twice; give all its values at once: {name}=1,2")
        values[name] = several
    return values


def data(
    work: Annotated[
        Literal["embedded", "shard"],
        Argument(help="the embedded data, or shard: pack the photos of the real ShapeNet into tar files of PNGs"),
    ] = "embedded",
    scale: Scale = "smoke",
    scheduler: Scheduler = None,
    root: Annotated[Path | None, Option(help="shard: the archive (default: data/shapenet)")] = None,
    drop_leaks: Annotated[bool, Option("--drop-leaks", help="shard: omit test objects that are also in train")] = False,
    yes: Annotated[bool, Option("--yes", help="start scale full, whose cost is otherwise only printed")] = False,
) -> None:
    """Generate the embedded data, or pack the real ShapeNet. It resumes after an interruption."""
    from p2vtools.study import runner

    if work == "shard":
        from p2vlib.provenance import home
        from p2vtools.archives.shapenet import ensure_store

        print(ensure_store(root or home() / "data" / "shapenet", drop_leaks=drop_leaks, shards=True))
        return
    if not runner.confirm_cost(scale, [], yes):
        raise typer.Exit(1)
    runner.build_data(scale, scheduler)


def seeds(
    draw: Annotated[
        Literal["all", "evaluate"] | None,
        Option(help="draw new test people and objects, or only the people of evaluate; both freeze all designs"),
    ] = None,
) -> None:
    """Record which results looked at which test people. They are in data/seeds.json."""
    from p2vtools.study import seeds as recorded

    if draw:
        print(f"drawn; commit this before you run anything: {recorded.draw_test_seeds(draw)}")
        return
    for look in recorded.record_looks():
        design = "frozen before its people were drawn" if look["frozen"] else "not frozen before its people were drawn"
        print(f"{look['result']} at {look['commit']}: design {design}")


def report(run: Annotated[Literal[(*PRESETS, "evaluate")], Argument(help="a scale, or the evaluation")]) -> None:
    """Build the pages of a run again. No notebook is run."""
    if run == "evaluate":
        from p2vtools.study.report.evaluation_page import build_evaluation

        print(build_evaluation())
    else:
        from p2vtools.study.report import build

        print(build(run))


def compare(
    runs: Annotated[list[Path], Argument(metavar="RUN...", help="two or more folders like reports/quick")],
    out: Annotated[Path | None, Option(help="also write one HTML page")] = None,
) -> None:
    """Show what became better or worse since the first run. It also shows the settings that differ."""
    from p2vtools.study import comparison

    print(comparison.compare(runs, out))
    if out:
        print(f"page: {out}")


def convert(
    checkpoint: Annotated[Path, Argument(help="the published .pth file")],
    out: Annotated[Path, Option(help="the .safetensors file to write", show_default=False)],
) -> None:
    """Convert a published checkpoint to safetensors. It may be one of Pix2Vox or Pix2Vox++."""
    from p2vtools.archives.published import load_published

    published = load_published(checkpoint)
    published.save(out)
    print(f"{out}: {published.name}; not converted: {', '.join(published.unused) or 'nothing'}")


def fetch(
    name: Annotated[Literal["shapenet", "pix3d", "textures"], Argument(help="the archive")],
    root: Annotated[Path | None, Option(help="the target folder (default: data/NAME; textures: the cache)")] = None,
    source: Annotated[Path | None, Option("--from", help="textures: copy from this folder instead")] = None,
    trust: Annotated[
        bool, Option("--trust-first-download", help="take an archive whose sha256 is not known, and record it")
    ] = False,
) -> None:
    """Download the real ShapeNet, Pix3D, or textures. It resumes after an interruption."""
    from p2vtools.archives.download import fetch as fetch_archive
    from p2vtools.synthesis.assets import fetch_textures

    if name == "textures":
        fetch_textures(root, source)
    elif source is not None:
        raise ValueError(f"--from is only for textures; {name} is downloaded, into --root")
    else:
        fetch_archive(name, root, trust)


def weights() -> None:
    """Train and test the weights that come with the project. It resumes after an interruption."""
    from p2vtools.capture.shape_model import shape_model_path
    from p2vtools.study import model_card, pretraining
    from p2vtools.synthesis.feet.shape_modes import write_shape_modes

    write_shape_modes(pretraining.pretrained_config().feet.train_seed, shape_model_path())
    path = pretraining.train_pretrained()
    print(path)
    print(model_card.complete_card(path, pretraining.pretrained_config()))


def evaluate(
    share: Annotated[
        float, Option(parser=number, metavar="SHARE", help="share of the cases, above 0 and at most 1")
    ] = 1.0,
    out: Annotated[Path | None, Option(help="the folder for the tables (default: reports/evaluate)")] = None,
    scans: Annotated[bool, Option("--scans", help="only clean the scans, and print their errors")] = False,
    scheduler: Scheduler = None,
) -> None:
    """Measure errors of cameras, scans and measures. The people are unseen. It resumes after an interruption."""
    from p2vtools.study.benchmark.run import evaluate_scans, run_benchmark
    from p2vtools.study.report.evaluation_page import build_evaluation

    if scans and out:
        raise ValueError("--scans prints its tables and writes none; remove --out")
    print(
        evaluate_scans(share, scheduler) if scans else build_evaluation(run_benchmark(share, out, scheduler=scheduler))
    )
