"""`taper bench`: times taper and PyTorch side by side on this machine."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from typing import Any

from taper.benchmarks.sides import Outcome, Side, SideEnded, compare, time_alone
from taper.benchmarks.workloads import GROUPS, WORKLOADS

__all__ = ["bench"]

_DESCRIPTION = """\
Does the same work with taper and with PyTorch, in turns, in two processes, and prints the ratio of
their times: above 1 taper is faster. Results are compared first. Without PyTorch it prints taper's
times alone."""


def bench(arguments: list[str]) -> int:
    """Runs the command and returns its exit status: 1 if something could not be measured."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 3, 0.01
    chosen = [
        name for name in WORKLOADS if any(text in name for text in options.filter or [""])
    ]
    if not chosen:
        parser.error(f"no workload has such a name; there are {', '.join(WORKLOADS)}")
    try:
        subject = Side(options.module, options.compile)
    except SideEnded as reason:
        return _refused(options.module, reason)
    reference = None
    try:
        reference = Side(options.reference or "torch")
    except SideEnded as reason:
        if options.reference:
            subject.close()
            return _refused(options.reference, reason)
        print("PyTorch is not installed here: these are taper's times alone (pip install torch)\n")
    _print_machine(options.compile, *[side for side in (subject, reference) if side])
    try:
        records = _measure(chosen, subject, reference, options)
    finally:
        subject.close()
        if reference:
            reference.close()
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"workloads": records}, file, indent=1)
    return 1 if len(records) < len(chosen) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="taper bench", description=_DESCRIPTION)
    parser.add_argument(
        "--filter", action="append", metavar="TEXT", default=[],
        help="only workloads whose name contains this; may be given several times",
    )
    parser.add_argument("--compile", action="store_true", help="taper compiles the training steps")
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each side: 9")
    parser.add_argument("--seconds", type=float, default=0.03, help="length of a round: 0.03")
    parser.add_argument("--json", metavar="FILE", help="write ratios and times there, too")
    parser.add_argument("--module", default="taper", help="what is measured: taper")
    parser.add_argument("--reference", help="what it is measured against: torch")
    return parser


def _refused(module: str, reason: SideEnded) -> int:
    print(
        f"taper bench: {reason}. Install {module}, or name other modules with --module and "
        "--reference.", file=sys.stderr,
    )
    return 1


def _print_machine(is_compiled: bool, *sides: Side) -> None:
    from taper.cli.info import processor

    names = [f"{side.module} {side.version}" for side in sides]
    names[0] += " with compiled training steps" if is_compiled else ""
    print(" against ".join(names), "on", processor())
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 1:
        print(
            f"Other programs keep {os.getloadavg()[0]:.0f} cores busy: threads that wait for each "
            "other lose their turns, and ratios can be off by far."
        )


def _measure(
    chosen: list[str], subject: Side, reference: Side | None, options: Any
) -> dict[str, Any]:
    """Prints a table for each group of workloads, and returns its figures."""
    records: dict[str, Any] = {}
    failed = 0
    for group, names in GROUPS.items():
        names = [name for name in names if name in chosen]
        if not names:
            continue
        print(f"\n{group}")
        for name in names:
            found: Outcome | float | str
            if reference is None:
                found = time_alone(name, subject, options.rounds, options.seconds)
            else:
                found = compare(name, subject, reference, options.rounds, options.seconds)
            if isinstance(found, str):
                print(f"  {name:22}{'–':>8}  {found}")
                failed += 1
            else:
                records[name] = _row(name, found)
        ratios = [records[name]["ratio"] for name in names if "ratio" in records.get(name, ())]
        if len(ratios) > 1:
            print(f"  {'geometric mean':22}{statistics.geometric_mean(ratios):>7.2f}×")
    ratios = [record["ratio"] for record in records.values() if "ratio" in record]
    if ratios:
        mean = statistics.geometric_mean(ratios)
        print(f"\ngeometric mean {mean:.2f}× over {len(ratios)} workloads, {failed} not measured")
    return records


def _row(name: str, found: Outcome | float) -> dict[str, Any]:
    """Prints one line, and returns what is in it."""
    if isinstance(found, float):
        print(f"  {name:22}{1e6 * found:>12.2f} µs")
        return {"us": 1e6 * found}
    low, middle, high = (
        statistics.quantiles(found.ratios, n=4) if len(found.ratios) > 1 else found.ratios * 3
    )
    mine, theirs = 1e6 * found.seconds, 1e6 * found.reference_seconds
    print(
        f"  {name:22}{middle:>7.2f}×  {f'{low:.2f} – {high:.2f}':15}{mine:>12.2f} µs{theirs:>12.2f}"
    )
    return {"ratio": middle, "ratios": found.ratios, "us": mine, "reference_us": theirs}
