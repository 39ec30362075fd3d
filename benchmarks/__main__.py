"""Times both sides in turns and prints the ratios; see the package's docstring."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.workloads import WORKLOADS


class Side:
    """A worker process."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        opening = self.read()
        if "error" in opening:
            raise SystemExit(
                f"python -m benchmarks: {opening['error']}. Install {module}, or name other "
                "modules with --module and --reference."
            )
        self.version = opening["version"]

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker with {self.module} ended: {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def same(mine: list[float], theirs: list[float]) -> bool:
    """Whether two results agree as far as float32 sums in different orders can."""
    return len(mine) == len(theirs) and all(
        a == b or math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4)
        for a, b in zip(mine, theirs, strict=True)
    )


def calls_for(side: Side, seconds: float) -> int:
    """How many calls make a round of about so many seconds; warms up on the way."""
    calls = 1
    while (took := side.ask(time=calls)["seconds"]) < seconds / 2:
        calls = max(calls * 2, int(calls * min(seconds / max(took, 1e-9), 10)))
    return calls


def compare(name: str, subject: Side, reference: Side, rounds: int, seconds: float) -> Any:
    """The ratios of all rounds and the microseconds of both sides, or a text that says why not."""
    made = {side: side.ask(make=name) for side in (subject, reference)}
    for side, answer in made.items():
        if "error" in answer:
            return f"{side.module}: {answer['error']}"
    if not same(made[subject]["result"], made[reference]["result"]):
        return "WRONG: the results differ"
    calls = {side: calls_for(side, seconds) for side in (subject, reference)}
    times: dict[Side, list[float]] = {subject: [], reference: []}
    for turn in range(rounds):
        order = (subject, reference) if turn % 2 else (reference, subject)
        for side in order:
            time.sleep(0.002)  # lets the threads of the other side go to sleep
            times[side].append(side.ask(time=calls[side])["seconds"] / calls[side])
    ratios = [b / a for a, b in zip(times[subject], times[reference], strict=True)]
    return ratios, *(1e6 * statistics.median(times[side]) for side in (subject, reference))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--module", default="taper", help="what is measured: taper")
    parser.add_argument("--reference", default="torch", help="what it is measured against: torch")
    parser.add_argument(
        "--filter", action="append", metavar="TEXT", default=[],
        help="only workloads whose name contains this; may be given several times",
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each side: 9")
    parser.add_argument("--seconds", type=float, default=0.03, help="length of a round: 0.03")
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    parser.add_argument("--json", metavar="FILE", help="write ratios and times there, too")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 0.01
    chosen = [
        name for name in WORKLOADS if any(text in name for text in options.filter or [""])
    ]
    if not chosen:
        parser.error(f"no workload has such a name; there are {', '.join(WORKLOADS)}")
    subject, reference = Side(options.module), Side(options.reference)
    names = f"{subject.module} {subject.version}", f"{reference.module} {reference.version}"
    print(f"{names[0]} against {names[1]}; above 1 the first is faster")
    print(f"{'workload':20}{'ratio':>8}  {'quartiles':15}{'µs':>10}{'reference':>11}")
    records: dict[str, Any] = {}
    failed = 0
    for name in chosen:
        outcome = compare(name, subject, reference, options.rounds, options.seconds)
        if isinstance(outcome, str):
            print(f"{name:20}{'–':>8}  {outcome}")
            failed += 1
            continue
        ratios, mine, theirs = outcome
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:20}{middle:>7.2f}×  {f'{low:.2f} – {high:.2f}':15}{mine:>10.2f}{theirs:>11.2f}"
        )
        records[name] = {"ratio": middle, "ratios": ratios, "us": mine, "reference_us": theirs}
    subject.close()
    reference.close()
    if records:
        mean = statistics.geometric_mean(record["ratio"] for record in records.values())
        print(f"geometric mean {mean:.2f}× over {len(records)} workloads, {failed} not measured")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"sides": names, "workloads": records}, file, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
