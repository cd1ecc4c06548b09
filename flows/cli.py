"""The command line: ``isophase``. It turns arguments into flow runs, and errors into one line and an exit code."""

import argparse
import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isophase.flows import interrupt, output

EXIT_CODES = """exit codes:
  0  all points of the sweep are done
  1  the run ended, but some points failed, or parts of the reduction or figures, which are left out; the errors are
     shown, and those of points by `isophase status STORE`
  2  refused: arguments, a sweep, a setting, a store or a folder that cannot be used, however often it is tried; mend
     what the line names
  3  the store, the scheduler, a server or the machine gave way; run the same command again to go on
  4  a fault of isophase itself; please report it
  130  interrupted; run the same command again to go on
  a reader that goes away, as in `isophase reduce STORE | true`, changes nothing
"""

RUN = """Run the points of a sweep that its store lacks: start it, resume it, extend it.

SWEEP is the path of a TOML file or the name of a preset (`isophase presets`).
Finished points are never computed again, whatever stopped the run before."""


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    root = argparse.ArgumentParser(
        prog="isophase",
        description="Parameter sweeps for the collective dynamics of recurrent networks.",
        epilog="example:\n  isophase study quickstart\n\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_working(commands)
    _add_looking(commands)
    _add_serving(commands)
    return root


def _command(commands: Any, name: str, summary: str, text: str, example: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _sweep_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("sweep", metavar="SWEEP", help="path of a sweep's TOML file, or name of a preset")
    command.add_argument("--store", metavar="PATH", help="local path or URL of the result store [results/NAME.zarr]")
    command.add_argument("--retry-failed", action="store_true", help="run points that failed before once more")


def _cluster_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler, tcp://HOST:PORT or tls://HOST:PORT [local processes]",
    )
    command.add_argument(
        "--workers", metavar="N", type=_positive, help="number of local worker processes [one per core]"
    )
    command.add_argument("--performance-report", metavar="FILE", help="write Dask's performance report there, HTML")


def _figures_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("--figures", metavar="DIR", help="folder of the figures [beside the store: NAME.figures]")


def _add_working(commands: Any) -> None:
    """Commands that compute."""
    run = _command(commands, "run", "run what is missing of a sweep", RUN, "isophase run sharing --workers 2")
    _sweep_arguments(run)
    _cluster_arguments(run)

    reduce = _command(
        commands,
        "reduce",
        "reduce a store to summaries and figures",
        "Reduce the finished points of a store to its summary, kept in the store's group `summary`,\n"
        "and draw the figures.",
        "isophase reduce results/sharing.zarr",
    )
    reduce.add_argument("store", metavar="STORE", help="local path or URL of a store")
    reduce.add_argument(
        "--refine", action="store_true", help="run points again, to look between what they recorded; of kinds that can"
    )
    _cluster_arguments(reduce)
    _figures_argument(reduce)

    study = _command(
        commands,
        "study",
        "run a sweep, reduce it and draw it",
        f"{RUN}\n\nThen reduce it, print the tables and draw the figures.",
        "isophase study quickstart",
    )
    _sweep_arguments(study)
    _cluster_arguments(study)
    _figures_argument(study)


def _add_looking(commands: Any) -> None:
    """Commands that show what is there."""
    from isophase.flows.formats import FORMATS

    report = _command(
        commands,
        "report",
        "show a reduced store",
        "Print the tables of a reduced store and draw its figures, or write the tables in another format:\n"
        "CSV and JSON hold values with their uncertainties, not what a person reads.",
        "isophase report results/sharing.zarr --format csv",
    )
    report.add_argument("store", metavar="STORE", help="local path or URL of a reduced store")
    report.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="terminal",
        help="of the tables, on standard output; figures are drawn with terminal alone [%(default)s]",
    )
    _figures_argument(report)

    compare = _command(
        commands,
        "compare",
        "show reduced stores side by side",
        "Print one table and draw one set of figures of several reduced stores whose kinds share a report,\n"
        "as rings beside Kuramoto oscillators.",
        "isophase compare results/growth.zarr results/kuramoto.zarr",
    )
    compare.add_argument("stores", metavar="STORE", nargs="+", help="local path or URL of a reduced store")
    compare.add_argument(
        "--figures", metavar="DIR", default="results/compare.figures", help="folder of the figures [%(default)s]"
    )

    status = _command(
        commands,
        "status",
        "show what a store holds",
        "Show the groups of a store: how many of their points are done, failed and pending, the time spent on them,\n"
        "the objects and bytes that they take; the runs that made them, and the errors.",
        "isophase status results/sharing.zarr",
    )
    status.add_argument("store", metavar="STORE", help="local path or URL of a store")

    verify = _command(
        commands,
        "verify",
        "look whether a store holds what was written",
        "Read every byte of a store and compare it with its checksums: metadata, status, data and summary. What is\n"
        "missing or damaged is named with its group, point and file. With --repair the points whose results are lost\n"
        "are set to pending, so that the sweep runs them again, to the same bits.",
        "isophase verify results/sharing.zarr",
    )
    verify.add_argument("store", metavar="STORE", help="local path or URL of a store")
    verify.add_argument("--repair", action="store_true", help="mend what can be mended, and set lost points to pending")

    _command(
        commands,
        "presets",
        "list the sweeps that come with isophase",
        "List the presets with their titles and costs.",
        "isophase presets",
    )

    show = _command(
        commands,
        "show",
        "show a sweep before it runs",
        "Show a sweep as it will run: its points, groups, bytes and time, and the file itself.",
        "isophase show sharing",
    )
    show.add_argument("sweep", metavar="SWEEP", help="name of a preset, or path of a sweep's TOML file")


def _add_serving(commands: Any) -> None:
    """Commands of a cluster and of its schedules."""
    serve = _command(
        commands,
        "serve",
        "run flows on a schedule",
        "Register the deployments that FILE declares with Prefect's server, and run what is due until interrupted.\n"
        "PREFECT_API_URL names the server, as `prefect server start` runs one; schedules pause while nobody serves.",
        "isophase serve deployments/deployments.toml",
    )
    serve.add_argument("file", metavar="FILE", help="TOML file, a table for each deployment")
    serve.add_argument(
        "--scheduler", metavar="ADDRESS", help="Dask scheduler of the deployments that name none [local processes]"
    )

    certs = _command(
        commands,
        "certs",
        "make or renew certificates for TLS between Dask processes",
        "Make an authority, a certificate and its key for the scheduler, the workers and the clients of one Dask\n"
        "cluster. DASK_CONFIG=DIR/dask.yaml makes a process use them for tls:// addresses. What is there stays, but a\n"
        "certificate that ends within 30 days is renewed; processes take the new one when they are started again.",
        "isophase certs certs",
    )
    certs.add_argument("folder", metavar="DIR", help="folder that holds them or will")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    options = parser().parse_args(arguments)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a kind may be a function of a module here; last, so that it hides none
    # Prefect logs every failure with a traceback; the terminal gets one line from here, the server the whole
    if options.command != "serve":
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        logging.raiseExceptions = False  # nor what Prefect's log handler has to say of a server that is gone
        # 4 retries outlast an outage of 24 s; the default 5 make somebody wait for four minutes where a server is gone
        os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "4")
    with output.kept(obeyed=options.command == "serve") as streams:  # Prefect colours its logs
        code = _run_command(options)
        if code in (0, 1) and sys.stdout is not None:
            sys.stdout.flush()
            if streams.error is not None:  # what was asked for has not been printed
                return _fail(f"standard output: cannot be written: {streams.error}", 3)
        return code


def _run_command(options: argparse.Namespace) -> int:
    """The command, whose errors become a line and a code."""
    if options.command in ("run", "reduce", "study"):
        interrupt.watch()
    try:
        _check_dask_files()
        return COMMANDS[options.command](options)
    except KeyboardInterrupt:
        interrupt.end()
    except Exception as error:
        if interrupt.requested.is_set():  # Prefect's client found its server gone before the run had ended
            interrupt.end()
        if os.environ.get("ISOPHASE_DEBUG"):
            traceback.print_exc()
        return _fail(*_line_and_code(error))


def _check_dask_files() -> None:
    """Refuse configuration files that Dask cannot read, with which nothing that uses it can be imported."""
    try:
        import dask.config
    except ValueError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise Refusal(" ".join(lines)) from None
    path = os.environ.get("DASK_CONFIG")
    if path is not None and not os.access(path, os.R_OK):  # which Dask passes over
        raise Refusal(f"DASK_CONFIG={path}: cannot be read: there is no such file, or no permission")
    assert dask.config


def _line_and_code(error: Exception) -> tuple[str, int]:
    from pydantic import ValidationError

    from isophase.flows.errors import ClusterError, NothingReducedError, SettingsError, StoreError, StoreRefusedError
    from isophase.sweeps.sweep import SweepError

    if isinstance(error, SweepError | StoreRefusedError | SettingsError | Refusal):
        return str(error), 2
    if isinstance(error, ValidationError) and error.title.endswith("Settings"):  # Prefect's, read as it is imported
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        return f"Prefect's {error.title}: {name}={first['input']!r}: {first['msg']}", 2
    if isinstance(error, NothingReducedError):
        return str(error), 1
    if isinstance(error, StoreError | ClusterError | OSError):
        return str(error), 3
    first_line = (str(error).strip().splitlines() or [""])[0]
    origin = type(error).__module__.split(".")[0]
    if origin == "httpx" and (url := _prefect_url()):
        # Prefect's exit hooks would try for another minute to tell the server
        interrupt.end(
            f"isophase: error: Prefect server {url} (PREFECT_API_URL): lost: {error}; run it again to go on", 3
        )
    text = f"{type(error).__name__}: {first_line} (ISOPHASE_DEBUG=1 shows where)"
    if origin in ("httpx", "prefect") or isinstance(error, MemoryError):
        return text, 3
    return f"a fault of isophase, please report it: {text}", 4


def _prefect_url() -> str | None:
    from isophase.flows.prefect_server import server_url

    return server_url()


class Refusal(Exception):  # noqa: N818 - of what is wrong before anything of ours is imported
    """What was given or set cannot be used."""


def _run(options: argparse.Namespace) -> int:
    from isophase.sweeps.store import is_complete, lost, read, resolve
    from isophase.sweeps.sweep import load

    sweep = load(options.sweep)
    store = resolve(options.store or default_store(sweep.name))
    if not options.retry_failed and is_complete(store, sweep):  # before Prefect's server takes seconds to start
        from isophase.flows.points import say_lost

        results = read(store)
        failed, damages = results.count(sweep)["failed"], lost(results)
        say_lost(results, damages)
        print(f"nothing left to run; store {store}: {sweep.n_points - failed:,} done, {failed:,} failed, 0 pending")
        return 1 if failed or damages else 0
    _check_places(options.scheduler, report=options.performance_report)
    _check_store(sweep, store)
    from isophase.flows import embedded
    from isophase.flows.sweep import run_sweep

    embedded.start(store)
    summary = run_sweep(
        options.sweep,
        store,
        options.scheduler,
        options.workers,
        options.retry_failed,
        performance_report=options.performance_report,
    )
    print_run(summary)
    return 1 if summary.failed or summary.lost else 0


def _reduce(options: argparse.Namespace) -> int:
    from isophase.sweeps.store import resolve, stored_sweep

    store = resolve(options.store)
    stored_sweep(store)
    _check_places(options.scheduler, _figures(options, store), options.performance_report)
    from isophase.flows import embedded
    from isophase.flows.reduce import run_reduce
    from isophase.flows.report import report_of, show

    embedded.start(store)
    summary = run_reduce(store, options.scheduler, options.workers, options.performance_report, options.refine)
    _, failed = show(report_of(store), options.figures)
    return _left_out(len(summary.failures), failed)


def _figures(options: argparse.Namespace, store: str) -> str:
    from isophase.flows.report import figures_folder

    return options.figures or str(figures_folder(store))


def _report(options: argparse.Namespace) -> int:
    from isophase.flows.report import print_tables, report_of, say_left_out, show

    report = report_of(options.store)
    left_out = say_left_out(report.left_out)
    if options.format != "terminal":
        print_tables(list(report.tables.values()), options.format)
        return _left_out(left_out, 0)
    if options.figures is not None:
        _check_folder("figures", Path(options.figures))
    _, failed = show(report, options.figures)
    return _left_out(left_out, failed)


def _left_out(parts: int, figures: int) -> int:
    """Say what of a reduction is not there; returns the exit code."""
    if parts or figures:
        print(f"left out: {parts} parts of the reduction, {figures} figures; their errors are above", file=sys.stderr)
    return 1 if parts or figures else 0


def _study(options: argparse.Namespace) -> int:
    from isophase.sweeps.store import resolve
    from isophase.sweeps.sweep import load

    sweep = load(options.sweep)
    store = resolve(options.store or default_store(sweep.name))
    _check_places(options.scheduler, _figures(options, store), options.performance_report)
    _check_store(sweep, store)
    from isophase.flows import embedded
    from isophase.flows.study import run_study

    embedded.start(store)
    summary = run_study(
        options.sweep,
        store,
        options.scheduler,
        options.workers,
        options.retry_failed,
        options.figures,
        performance_report=options.performance_report,
    )
    print_run(summary.run)
    if summary.reduction is not None:
        _left_out(len(summary.reduction.failures), summary.figures_failed)
    return 0 if summary.complete else 1


def _compare(options: argparse.Namespace) -> int:
    from isophase.flows.report import compare

    _, left_out, failed = compare(options.stores, options.figures)
    return _left_out(left_out, failed)


def _status(options: argparse.Namespace) -> int:
    import numpy as np

    from isophase.flows.points import say_lost
    from isophase.sweeps.store import FAILED, STATES, lost, read, resolve, usage

    results = read(resolve(options.store))
    used = usage(results.location)
    lines = [("group", "grid", "points", *STATES, "core-s", "objects", "MB")]
    for name, store in sorted(results.groups.items()):
        grid = " x ".join(f"{axis.name} {len(axis)}" for axis in store.group.axes) or "one point"
        counts = [int((store.status == state).sum()) for state in STATES.values()]
        spent = np.nansum(store.bookkeeping["wall_time"])
        lines.append(
            (name, grid, f"{store.group.n_points}", *map(str, counts), f"{spent:.1f}", *_size(used.pop(name, (0, 0))))
        )
    for name, size in sorted(used.items()):  # the summary, and the metadata of all
        lines.append((name, *[""] * 6, *_size(size)))
    _print_columns(lines)
    runs = results.runs()
    if runs:
        print(f"{len(runs)} runs, the last on {runs[-1]['host']} at {runs[-1]['started']}")
    damages = lost(results)
    say_lost(results, damages)
    failures = 0
    for name, store in sorted(results.groups.items()):
        for index in map(tuple, np.argwhere(store.status == FAILED)):
            labels = ", ".join(f"{axis.name}={axis.labels[i]}" for axis, i in zip(store.group.axes, index, strict=True))
            labels = labels or "its one point"
            failures += 1
            if failures <= 20:
                print(f"failed: {name}: {labels}: {store.bookkeeping['error'][index]}")
    if failures > 20:
        print(f"... and {failures - 20} more; see `error` in the store")
    return 1 if failures or damages else 0


def _verify(options: argparse.Namespace) -> int:
    from isophase.flows.progress import Meter
    from isophase.sweeps.store import StoreError, lines, read, repair, resolve, usage, verify

    store = resolve(options.store)

    def watch(found: Any, total: int) -> Any:
        with Meter("verify", total, "shards") as meter:
            for damages in found:
                meter.add(1)
                yield damages

    pending = 0
    if options.repair:
        damages, left, pending = repair(store, watch)
    else:
        damages = left = verify(store, watch)
    try:
        results = read(store)
    except StoreError:  # as it is damaged
        results = None
    for line in lines(results, damages):
        print(line)
    objects, nbytes = map(sum, zip(*usage(store).values(), strict=True))
    print(f"store {store}: {objects:,} objects, {nbytes / 1e6:.1f} MB, {len(damages):,} damaged")
    if pending:
        print(f"{pending:,} points are pending again: run the sweep once more")
    elif left and not options.repair:
        print(f"`isophase verify {store} --repair` mends what can be mended")
    return 1 if left else 0


def _size(objects_and_bytes: tuple[int, int]) -> tuple[str, str]:
    return f"{objects_and_bytes[0]}", f"{objects_and_bytes[1] / 1e6:.1f}"


def _print_columns(lines: Sequence[tuple[str, ...]]) -> None:
    """Lines of cells under each other: the first two to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        print("  ".join(cells).rstrip())


def _presets(options: argparse.Namespace) -> int:
    from isophase.sweeps.sweep import load, presets

    for name in presets():
        sweep = load(name)
        print(f"{name:<16}{sweep.n_points:>7} points  {sweep.title}\n{'':<16}{sweep.cost}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from isophase.sweeps.sweep import load, presets

    sweep = load(options.sweep)
    groups = sweep.groups()
    print(f"{sweep.name}: {sweep.title}\n{sweep.n_points:,} points of kind {sweep.kind.name}, sweep seed {sweep.seed}")
    for group in groups:
        grid = " x ".join(f"{axis.name} {len(axis)}" for axis in group.axes) or "one point"
        print(f"  {group.name:<26}{grid:<44}{group.nbytes() / 1e6:>10.1f} MB {group.seconds():>10.1f} core-s")
    total = sum(group.nbytes() for group in groups) / 1e6
    print(f"  {'in all':<70}{total:>10.1f} MB {sum(group.seconds() for group in groups):>10.1f} core-s (estimated)")
    for group in groups:
        for text, points in group.warnings().items():
            print(f"warning: {points[0]}{f' and {len(points) - 1} more' if len(points) > 1 else ''}: {text}")
    print("\n" + presets().get(options.sweep, Path(options.sweep)).read_text(encoding="utf-8"), end="")
    return 0


def _serve(options: argparse.Namespace) -> int:
    os.environ.setdefault("PREFECT_LOGGING_LOG_PRINTS", "true")  # of the flow runs, into Prefect's UI
    from isophase.flows.errors import SettingsError
    from isophase.flows.prefect_server import check_closed, check_server, server_url
    from isophase.flows.serve import deployments, serve

    served = deployments(options.file, options.scheduler)
    url = server_url()
    if url is None:
        raise SettingsError(
            "no Prefect server to keep the schedules, and an embedded one fires none: run `prefect server start`, and "
            "set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    check_closed(url)
    check_server(url)
    serve(served)
    return 0


def _certs(options: argparse.Namespace) -> int:
    from isophase.flows.certs import CONFIG, keep_certificates

    ends = keep_certificates(options.folder)
    print(f"valid until {ends:%Y-%m-%d}; scheduler, workers and clients use them with")
    print(f"  export DASK_CONFIG={Path(options.folder).absolute() / CONFIG}")
    return 0


def _check_store(sweep: Any, store: str) -> None:
    """Refuse a store that cannot be used, before Prefect's server takes seconds to start."""
    from isophase.flows.points import check_packages
    from isophase.sweeps.store import SweepStore, exclusive

    check_packages(sweep.kind)
    with exclusive(store):
        SweepStore.prepare(store, sweep)


def _check_places(scheduler: str | None, figures: str | None = None, report: str | None = None) -> None:
    """Refuse folders and addresses that cannot be used, before hours of work depend on them."""
    if figures is not None:
        _check_folder("figures", Path(figures))
    if report is not None:
        _check_folder("performance report in", Path(report).parent)
    from isophase.flows import embedded
    from isophase.flows.prefect_server import check_server, server_url
    from isophase.flows.settings import check_settings

    check_settings()
    if url := server_url():
        check_server(url)
    else:
        embedded.check()
    if scheduler is not None:
        from isophase.flows.cluster import cluster

        with cluster(scheduler):
            pass


def _check_folder(what: str, folder: Path) -> None:
    from isophase.flows.errors import StoreRefusedError
    from isophase.sweeps.store import unusable

    made: list[Path] = []
    try:
        made += (path for path in (folder, *folder.parents) if not path.exists())
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise StoreRefusedError(f"{what} {folder}: cannot be written: no permission")
    except OSError as error:
        raise unusable(f"{what} {folder}: cannot be written: {error}", error) from None
    finally:
        for path in made:  # whoever writes makes them again; what is refused for another reason leaves nothing
            with contextlib.suppress(OSError):
                path.rmdir()


def default_store(name: str) -> str:
    return str(Path("results") / f"{name}.zarr")


def print_run(summary: Any) -> None:
    """One line on what ran and what it cost."""
    ran = f"{summary.ran:,} points run in {summary.wall_time:.1f} s" if summary.ran else "nothing left to run"
    print(
        f"{ran}; store {summary.store}: {summary.done:,} done, {summary.failed:,} failed, {summary.pending:,} pending"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least 1")
    return int(text)


def _fail(message: str, code: int) -> int:
    print(f"isophase: error: {message}", file=sys.stderr)
    return code


COMMANDS = {
    "run": _run,
    "reduce": _reduce,
    "study": _study,
    "report": _report,
    "compare": _compare,
    "status": _status,
    "verify": _verify,
    "presets": _presets,
    "show": _show,
    "serve": _serve,
    "certs": _certs,
}

if __name__ == "__main__":
    sys.exit(main())
