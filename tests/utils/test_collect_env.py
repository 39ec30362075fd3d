"""The report names the versions that matter."""

import platform

import numpy

import taper
from taper.utils import collect_env


def test_report(capsys) -> None:
    collect_env.main()
    text = capsys.readouterr().out
    assert text.startswith("Collecting environment information...\nPyTorch version: ")
    assert f"{taper.__version__} (taper)" in text
    assert f"numpy=={numpy.__version__}" in text and platform.platform() in text
    assert collect_env.get_env_info().is_cuda_available == "False"
