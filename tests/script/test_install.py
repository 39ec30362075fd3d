"""script/install.sh with a stand-in for uv that writes down how it is called."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "script" / "install.sh"

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("bash") is None, reason="needs bash"
)

UV = """#!/usr/bin/env bash
echo "$*" >> "$UV_CALLS"
case "$1" in
    --version) echo "uv 1.2.3" ;;
    venv) mkdir -p .venv/bin && touch .venv/bin/python && chmod +x .venv/bin/python ;;
esac
"""
PIP = """#!/usr/bin/env bash
case "$*" in
    "-m pip install --user uv")
        mkdir -p "$HOME/.local/bin" && cp "$FAKE_UV" "$HOME/.local/bin/uv" ;;
    "-m site --user-base") echo "$HOME/.local" ;;
    *) exit 1 ;;
esac
"""


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project" / "script").mkdir(parents=True)
    shutil.copy2(SCRIPT, tmp_path / "project" / "script")
    (tmp_path / "home").mkdir()
    return tmp_path


def install(project, *words, commands):
    """Runs the script with only `commands` and the system's basic ones in reach."""
    for name in ("dirname", "mkdir", "touch", "chmod", "cp", "cat", "sh", "bash", "env"):
        place = shutil.which(name)
        link = project / "bin" / name
        link.parent.mkdir(exist_ok=True)
        if place and not link.exists():
            link.symlink_to(place)
    for name, text in commands.items():
        executable(project / "bin" / name, text)
    return subprocess.run(
        ["bash", str(project / "project" / "script" / "install.sh"), *words],
        cwd=project, capture_output=True, text=True, timeout=60, check=False,
        env={
            "PATH": str(project / "bin"),
            "HOME": str(project / "home"),
            "UV_CALLS": str(project / "calls"),
            "FAKE_UV": str(executable(project / "fake" / "uv", UV)),
        },
    )  # fmt: skip


def calls(project):
    return (project / "calls").read_text().splitlines()


def test_the_script_is_executable_and_the_windows_one_is_there():
    assert os.access(SCRIPT, os.X_OK)
    assert "uv venv" in (ROOT / "script" / "install.ps1").read_text().replace("$uv", "uv")


def test_with_uv_it_makes_an_environment_and_installs(project):
    done = install(project, commands={"uv": UV})
    assert done.returncode == 0, done.stderr
    assert calls(project) == [
        "--version",
        "venv --python >=3.11 .venv",
        "pip install --python .venv/bin/python -e .[test]",
    ]
    assert "source .venv/bin/activate" in done.stdout


def test_a_second_run_keeps_the_environment_and_extras_are_passed_on(project):
    install(project, commands={"uv": UV})
    done = install(project, "notebook", commands={})
    assert done.returncode == 0, done.stderr
    assert calls(project)[3:] == [
        "--version",
        "pip install --python .venv/bin/python -e .[test,notebook]",
    ]


def test_without_uv_it_installs_it(project):
    done = install(project, commands={"curl": '#!/bin/sh\ncat "$FAKE_CURL"\n', "python3": PIP})
    # This curl fails, there is no wget, so pip is the last way.
    assert done.returncode == 0, done.stderr
    assert "trying pip" in done.stdout
    assert calls(project)[-1] == "pip install --python .venv/bin/python -e .[test]"


def test_without_any_way_to_uv_it_says_so(project):
    done = install(project, commands={"python3": "#!/bin/sh\nexit 1\n"})
    assert done.returncode == 1
    assert "uv could not be installed" in done.stderr
