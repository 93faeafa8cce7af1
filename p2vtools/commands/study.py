"""Commands of the study: its data, its notebooks and reports, the archives and the weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from p2vlib.config import PRESETS


def add(choice: argparse._SubParsersAction) -> None:
    """Adds the commands, each with the function that does it as ``act``."""
    _add_runs(choice)
    convert = choice.add_parser("convert", help="turn a published checkpoint of Pix2Vox or Pix2Vox++ into safetensors")
    convert.add_argument("checkpoint", type=Path, help="the published .pth")
    convert.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    convert.set_defaults(act=_convert)
    fetch = choice.add_parser("fetch", help="download the real ShapeNet renderings or Pix3D; resumes")
    fetch.add_argument("name", choices=["shapenet", "pix3d"])
    fetch.add_argument("--root", type=Path, help="where to (default: data/<name>)")
    fetch.set_defaults(act=_fetch)
    weights = choice.add_parser("weights", help="train the network of rays that comes with the project; resumes")
    weights.set_defaults(act=_weights)
    judge = choice.add_parser("evaluate", help="how right cameras, scans and measures are on unseen people; resumes")
    judge.add_argument("--share", type=float, default=1.0, help="of its cases, above 0 and at most 1 (default: all)")
    judge.add_argument("--out", type=Path, help="where tables go (default: reports/evaluate)")
    judge.set_defaults(act=_evaluate)


def _add_runs(choice: argparse._SubParsersAction) -> None:
    """What makes runs, and what looks at them."""
    study = choice.add_parser("study", help="run the notebooks in order and build the report; resumes")
    study.add_argument("--only", type=_numbers, metavar="NN,NN", help="only these notebooks")
    study.add_argument(
        "-p",
        type=parameter,
        action="append",
        default=[],
        metavar="[NN.]NAME=VALUE[,VALUE]",
        dest="parameters",
        help="a parameter of the notebooks that have it, seed=1, or of one, 05.views=2 (their first cells declare "
        "them), for this scale's own report; several values, 05.views=2,4, make as many runs, below reports/grids, and "
        "compare them (a list in brackets is one value)",
    )
    study.add_argument("--jobs", type=_jobs, help="so many such runs at once, on a share of the cores each")
    study.add_argument(
        "--on-error",
        choices=["stop", "skip"],
        help="with the real archives (--only 03): stop at what cannot be read, or skip it and list it in the report",
    )
    study.set_defaults(act=_study)
    data = choice.add_parser("data", help="generate the embedded data; resumes")
    data.set_defaults(act=_data)
    for command in (study, data):
        command.add_argument(
            "--scale",
            choices=list(PRESETS),
            default="smoke",
            help="smoke (the default): seconds; quick: two cores; full: a GPU",
        )
    pages = choice.add_parser("report", help="lay the pages of a run anew from what it wrote; nothing is run")
    pages.add_argument("run", choices=[*PRESETS, "evaluate"], help="a scale, or what `evaluate` found")
    pages.set_defaults(act=_report)
    beside = choice.add_parser(
        "compare", help="what got better or worse from one run to others, and what they differ in"
    )
    beside.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="two or more folders like reports/quick")
    beside.add_argument("--out", type=Path, help="the page to write, HTML in one file")
    beside.set_defaults(act=_compare)


def parameter(text: str) -> tuple[str, list[Any]]:
    """``name=value``, ``05.name=value`` or several values, as `parameters.read`."""
    from p2vtools.study.parameters import parse_parameter

    try:
        return parse_parameter(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _numbers(text: str) -> list[str]:
    """``03,05`` as a list of notebook numbers."""
    return [number.strip() for number in text.split(",") if number.strip()]


def _jobs(text: str) -> int:
    """A number of runs at once, from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs; expected 1 or more")
    return int(text)


def _study(options: argparse.Namespace) -> None:
    names = [name for name, _ in options.parameters]
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise ValueError(f"{twice[0]} is given twice; several values stand in one: {twice[0]}=1,2")
    told = dict(options.parameters)
    if options.on_error:
        told["on_error"] = [options.on_error]
    if options.jobs or any(len(values) > 1 for values in told.values()):
        from p2vtools.study.sweep import run_sweep

        print(f"page: {run_sweep(options.scale, options.only, told, options.jobs or 1)}")
        return
    from p2vtools.study.runner import run_study

    run_study(options.scale, options.only, {name: values[0] for name, values in told.items()})


def _data(options: argparse.Namespace) -> None:
    from p2vtools.study.runner import build_data

    build_data(options.scale)


def _report(options: argparse.Namespace) -> None:
    if options.run == "evaluate":
        from p2vtools.study.report.benchmark_page import build_evaluation

        print(build_evaluation())
        return
    from p2vtools.study import report

    print(report.build(options.run))


def _compare(options: argparse.Namespace) -> None:
    from p2vtools.study.comparison import compare

    print(compare(options.runs, options.out))
    if options.out:
        print(f"page: {options.out}")


def _convert(options: argparse.Namespace) -> None:
    from p2vlib.models import load_published

    found = load_published(options.checkpoint)
    found.save(options.out)
    print(f"{options.out}: {found.name}; left out: {', '.join(found.unused) or 'nothing'}")


def _fetch(options: argparse.Namespace) -> None:
    from p2vtools.archives.download import fetch

    fetch(options.name, options.root)


def _weights(_: argparse.Namespace) -> None:
    """Trains and tests the weights of the project; what a capture folder of an unseen foot gives is in their card."""
    from p2vtools.study import model_card, pretraining

    path = pretraining.train_pretrained()
    print(path)
    print(model_card.complete(path, pretraining.pretrained_config()))


def _evaluate(options: argparse.Namespace) -> None:
    from p2vtools.study.benchmark.run import evaluate
    from p2vtools.study.report.benchmark_page import build_evaluation

    print(build_evaluation(evaluate(options.share, options.out)))
