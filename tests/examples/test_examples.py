"""The programs in examples/, run as a reader would run them: `python -m taper run program.py`.

Settings are quick ones. `TAPER_EXAMPLES=full` trains digits.py with its defaults instead and asks
for the accuracy and the time that its docstring promises.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def run(name: str, *arguments: str, folder: Path) -> str:
    """What the program printed; its working directory is `folder`."""
    environment = {
        **os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error::UserWarning"
    }  # fmt: skip
    finished = subprocess.run(
        [sys.executable, "-m", "taper", "run", str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def assert_picture(path: Path) -> None:
    content = path.read_bytes()
    assert content.startswith(PNG_SIGNATURE)
    assert len(content) > 5000


def needs(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"the example draws or reads with {package}")


def test_no_example_knows_taper():
    programs = sorted(EXAMPLES.glob("*.py"))
    assert len(programs) >= 5
    for program in programs:
        assert "taper" not in program.read_text(encoding="utf-8"), program.name


def test_digits_stopped_and_resumed_ends_like_a_run_in_one_go(tmp_path):
    needs("sklearn", "matplotlib", "tqdm")
    quick = ["--epochs", "3", "--batch-size", "256", "--channels", "4", "--seed", "3"]
    whole = run("digits", *quick, "--output", "whole", folder=tmp_path)
    losses = [float(loss) for loss in re.findall(r"epoch +\d+ +loss ([\d.]+)", whole)]
    assert len(losses) == 3
    assert losses[2] < losses[1] < losses[0]
    for file in ("learning_curve.png", "predictions.png"):
        assert_picture(tmp_path / "whole" / file)

    first = run("digits", *quick, "--output", "parts", "--stop-after", "1", folder=tmp_path)
    assert "after 1 epochs" in first
    rest = run("digits", *quick, "--output", "parts", "--resume", folder=tmp_path)
    assert epochs(first) + epochs(rest) == epochs(whole)
    assert summary(rest) == summary(whole)


def epochs(printed: str) -> list[str]:
    return re.findall(r"^epoch.*$", printed, re.MULTILINE)


def summary(printed: str) -> str:
    """The last line up to what depends on the clock."""
    return printed.strip().splitlines()[-1].split(" parameters,")[0]


@pytest.mark.skipif(
    os.environ.get("TAPER_EXAMPLES") != "full", reason="takes half a minute; TAPER_EXAMPLES=full"
)
def test_digits_reads_98_percent_in_under_a_minute(tmp_path):
    needs("sklearn", "matplotlib", "tqdm")
    started = time.perf_counter()
    printed = run("digits", folder=tmp_path)
    taken = time.perf_counter() - started
    found = re.search(r"test accuracy ([\d.]+)% on 359 digits after 15 epochs", printed)
    assert found is not None, printed
    assert float(found[1]) >= 98
    assert taken < 60


def test_discrete_choice_finds_the_coefficients(tmp_path):
    printed = run("discrete_choice", "--people", "600", "--steps", "120", folder=tmp_path)
    row_of_table = r"^(\w+) +(-?[\d.]+) +(-?[\d.]+) +([\d.]+) +(-?[\d.]+)"
    rows = re.findall(row_of_table, printed, re.MULTILINE)
    assert [row[0] for row in rows] == ["price", "minutes", "transfers", "comfort"]
    for name, truth, estimate, error, z in rows:
        assert abs(float(estimate) - float(truth)) < 4 * float(error), name
        assert float(z) == pytest.approx(float(estimate) / float(error), rel=0.02)
    away = re.search(r"away from Newton by (\S+)", printed)
    assert away is not None
    assert float(away[1]) < 1e-4


def test_polynomial_regression_agrees_with_least_squares(tmp_path):
    needs("matplotlib")
    printed = run(
        "polynomial_regression", "--degrees", "1", "3", "--steps", "500", "--output", "out",
        folder=tmp_path,
    )
    rows = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+) +(\S+)$", printed, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "3"]
    assert all(float(row[3]) < 1e-3 for row in rows)
    assert float(rows[1][1]) < float(rows[0][1])
    assert_picture(tmp_path / "out" / "fits.png")


@pytest.mark.parametrize(
    ("function", "verdicts"),
    [
        ("quadratic", ["still falling", "stationary", "still falling", "runs away"]),
        ("double_well", ["still falling", "stationary", "stationary", "runs away"]),
        ("log_cosh", ["still falling", "stationary", "still falling", "jumps about"]),
    ],
)
def test_gradient_descent_1d_says_what_each_step_size_does(tmp_path, function, verdicts):
    needs("matplotlib")
    printed = run("gradient_descent_1d", "--function", function, "--output", "out", folder=tmp_path)
    lines = printed.splitlines()[2:6]
    for line, verdict in zip(lines, verdicts, strict=True):
        assert verdict in line
    assert_picture(tmp_path / "out" / f"{function}.png")


def test_inside_autograd_lists_the_graph(tmp_path):
    needs("matplotlib")
    printed = run("inside_autograd", "--output", "out", folder=tmp_path)
    assert "a loss of 1.3058 has 13 nodes behind it" in printed
    assert "  0  AddBackward0 -> 4, 1\n" in printed
    assert re.search(r"^ *\d+  MmBackward0 -> -, \d+$", printed, re.MULTILINE)
    norms = dict(re.findall(r"^  (\w+) +norm ([\d.]+)$", printed, re.MULTILINE))
    assert norms == {"weights": "1.2829", "bias": "0.6554", "readout": "2.2490"}
    assert_picture(tmp_path / "out" / "graph.png")


# -- programs on torch.func ------------------------------------------------------------------------


def number_in(printed: str, pattern: str) -> float:
    """The number that stands where the pattern has its group."""
    found = re.search(pattern, printed, re.MULTILINE)
    assert found is not None, printed
    return float(found[1])


def test_implicit_differentiation_agrees_with_finite_differences(tmp_path):
    printed = run("implicit_differentiation", folder=tmp_path)
    errors = re.findall(r"relative error (\S+)$", printed, re.MULTILINE)
    assert len(errors) == 2
    assert all(float(error) < 1e-7 for error in errors)
    before = number_in(printed, r"^step  0 .* held-out loss ([\d.]+)")
    after = number_in(printed, r"^step 20 .* held-out loss ([\d.]+)")
    assert after < before - 0.01
    assert abs(number_in(printed, r"^step 20 .* slope +(\S+)$")) < 1e-9


def test_laplace_errors_are_the_published_ones(tmp_path):
    printed = run("laplace_errors", folder=tmp_path)
    assert number_in(printed, r"away from the closed form by (\S+)$") < 1e-10
    row_of_table = r"^(\w+) +([-.\d]+) +([.\d]+) +\S+ +([-.\d]+) +([.\d]+)$"
    rows = re.findall(row_of_table, printed, re.MULTILINE)
    assert [row[0] for row in rows] == ["GPA", "TUCE", "PSI", "const"]
    for _, estimate, error, *published in rows:
        for found, known in zip((estimate, error), published, strict=True):
            digits = len(known.partition(".")[2])
            assert abs(float(found) - float(known)) <= 0.6 * 10**-digits
    # statsmodels: llf, and the marginal effect of PSI at the mean with dummy=True.
    assert "log-likelihood -12.8896" in printed
    assert "a better grade by 0.4565 +- 0.181" in printed


def test_per_sample_gradients_are_those_of_the_loop_and_quicker(tmp_path):
    printed = run("per_sample_gradients", "--repeats", "10", folder=tmp_path)
    assert "64 gradients of 6,154 parameters" in printed
    assert number_in(printed, r"at once and in a loop are apart by (\S+)$") < 1e-5
    assert number_in(printed, r"the batch's gradient are apart by (\S+)$") < 1e-6
    limit = number_in(printed, r"clipped at (\d+\.\d+)")
    assert number_in(printed, r"the mean has norm (\S+)$") < limit
    assert number_in(printed, r"ms: ([\d.]+) times$") >= 5


def test_attribution_is_complete_and_finds_the_inputs_that_matter(tmp_path):
    printed = run("attribution", "--training", "400", folder=tmp_path)
    incomplete = re.findall(r"incomplete by ([-+.\de]+)", printed)
    assert len(incomplete) == 3
    assert all(float(error) < 1e-3 for error in incomplete)
    shares = re.findall(r"mean share (\S+), of the true function (\S+)$", printed, re.MULTILINE)
    assert len(shares) == 5
    assert all(abs(float(found) - float(true)) < 0.06 for found, true in shares)
    coarse = run("attribution", "--training", "400", "--steps", "16", folder=tmp_path)
    error = r"integrated gradients in \d+ steps: incomplete by (\S+)$"
    # The middle rule is of second order: a fourth of the steps, sixteen times the error.
    assert 8 < number_in(coarse, error) / number_in(printed, error) < 32


def test_ensemble_trains_as_its_members_do_and_spreads_where_no_data_are(tmp_path):
    printed = run("ensemble", "--steps", "600", "--compared", "20", folder=tmp_path)
    assert number_in(printed, r"^by (\S+); ") < 1e-5
    assert number_in(printed, r"losses from \S+ to (\S+)$") < 0.02
    rows = re.findall(r"^ *(-?\d+\.0) +\S+ +\S+ +(\S+)$", printed, re.MULTILINE)
    spread = {float(place): float(value) for place, value in rows}
    assert len(spread) == 5
    known, unknown = max(spread[-2.0], spread[2.0]), min(spread[-5.0], spread[0.0], spread[5.0])
    assert unknown > 3 * known


def test_tabular_stops_early_and_tells_tumours_apart(tmp_path):
    needs("sklearn", "matplotlib", "tqdm")
    printed = run("tabular", "--output", "out", folder=tmp_path)
    stopped = re.search(r"stopped after (\d+) epochs, the best was (\d+)", printed)
    right = re.search(r"test accuracy ([\d.]+)% on 113 rows", printed)
    assert stopped is not None and right is not None, printed
    assert int(stopped[2]) + 15 == int(stopped[1]) < 200
    assert float(right[1]) >= 95
    for picture in ("learning_curve.png", "threshold.png"):
        assert_picture(tmp_path / "out" / picture)


def test_digit_columns_reads_packed_sequences(tmp_path):
    needs("sklearn", "matplotlib", "tqdm")
    printed = run("digit_columns", "--output", "out", folder=tmp_path)
    right = re.search(r"test accuracy ([\d.]+)% on 359 digits", printed)
    assert right is not None, printed
    assert float(right[1]) > 95
    assert "columns a digit: 5.63 on average" in printed
    assert_picture(tmp_path / "out" / "lengths.png")


def test_digits_vae_raises_the_bound(tmp_path):
    needs("sklearn", "matplotlib", "tqdm")
    printed = run("digits_vae", "--epochs", "20", "--output", "out", folder=tmp_path)
    found = re.search(r"digits: (-[\d.]+) nats untrained, (-[\d.]+) after 20 epochs", printed)
    assert found is not None, printed
    assert float(found[1]) < -40
    assert float(found[2]) > -27
    assert_picture(tmp_path / "out" / "latent.png")


def test_bayesian_regression_finds_the_exact_posterior(tmp_path):
    needs("sklearn", "matplotlib", "tqdm")
    printed = run("bayesian_regression", "--output", "out", folder=tmp_path)
    off = re.search(r"the means differ by ([\d.]+) deviations", printed)
    assert off is not None, printed
    assert float(off[1]) < 0.1
    rows = re.findall(r"^(\w+) +(-?[\d.]+) +([\d.]+) +(-?[\d.]+) +([\d.]+)$", printed, re.MULTILINE)
    assert len(rows) == 10
    for _, _, deviation, _, exact in rows:
        assert float(deviation) == pytest.approx(float(exact), rel=0.1, abs=0.002)
    assert_picture(tmp_path / "out" / "weights.png")


def test_character_model_beats_guesses_by_counts(tmp_path):
    needs("matplotlib", "tqdm")
    quick = ["--steps", "300", "--length", "32", "--width", "64", "--layers", "2"]
    printed = run("character_model", *quick, "--output", "out", folder=tmp_path)
    found = re.search(
        r"held-out text: ([\d.]+) after 300 steps; from counts ([\d.]+) with one", printed
    )
    assert found is not None, printed
    assert float(found[1]) < float(found[2])
    assert_picture(tmp_path / "out" / "learning_curve.png")
    again = run("character_model", *quick, "--output", "out", "--sample", "80", folder=tmp_path)
    assert again.startswith("T") and len(again) == 82
