"""A browser for the tests of pages."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
     if (path := shutil.which(name)) is not None), None,
)


@pytest.fixture
def seen_in_browser(tmp_path: Path) -> Callable[[str, str], list[str]]:
    """Opens a page, runs a script in it, and returns what that has handed to `say`."""
    if BROWSER is None:
        pytest.skip("needs Chromium or Chrome")

    def seen(page: str, script: str) -> list[str]:
        assert page.count("</body>") == 1
        file = tmp_path / "page.html"
        file.write_text(page.replace("</body>", f"""<pre id="report"></pre><script>
const report = [], say = text => report.push(text);
window.onerror = message => {{ document.getElementById("report").textContent = message; }};
{script}
document.getElementById("report").textContent = report.join("|");
</script></body>"""), encoding="utf-8")
        done = subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
             "--window-size=1000,700", "--dump-dom", file.as_uri()],
            capture_output=True, text=True, check=True, timeout=60,
        )
        report = done.stdout.rsplit('<pre id="report">', 1)[1].split("</pre>")[0]
        return unescape(report).split("|")

    return seen
