"""The page of a compiled function: made by hand here, read in a browser and without one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from taper.viewer.history import Item
from taper.viewer.program_page import as_page
from taper.viewer.programs import FunctionView, GuardView, KernelView, ProgramView


@pytest.fixture
def view() -> FunctionView:
    before = [Item(0, "leaf", "x", (4,), "float32"),
              Item(1, "operation", "exp", (4,), "float32", inputs=[0]),
              Item(2, "operation", "negative", (4,), "float32", inputs=[1]),
              Item(3, "operation", "negative", (4,), "float32", inputs=[2]),
              Item(4, "result", "output.0", (4,), "float32", inputs=[3])]
    after = [before[0], before[1], Item(2, "result", "output.0", (4,), "float32", inputs=[1])]
    kernels = [
        KernelView(0, "check", "check", ["check(x)"], [], "check x", 8, 0, None, 1e-6, None),
        KernelView(1, "flat", "exp", ["v0 = exp(x)"], [1], "%0 = input 0", 6000, 2000, 4000, 4e-6,
                   1e-6),
    ]
    guards = [GuardView("model.weight", "tensor", "float32[4]", True),
              GuardView("global `scale`", "globals", "scale: 2", False)]
    program = ProgramView("program 0", before, after, kernels, guards, 6e-6, 5e-6, "", ["a note"])
    slow = ProgramView("program 1", before, after, unmeasured="it runs through NumPy")
    return FunctionView("step</script>", 7, 2, [program, slow],
                        [("it prints", "train.py:3 print(<x>)")], ["moves 10 GB/s"])


def test_speeds() -> None:
    kernel = KernelView(0, "flat", "exp", [], [], "", 6000, 2000, 4000, 4e-6, 1e-6)
    assert kernel.gigabytes_per_second == pytest.approx(2)
    assert kernel.gigaflops == pytest.approx(1)
    assert kernel.share == pytest.approx(0.25)
    unknown = KernelView(0, "call", "sin", [], [], "", 6000, 2000)
    assert unknown.gigabytes_per_second is unknown.gigaflops is unknown.share is None


def test_the_page_needs_nothing_else(view: FunctionView) -> None:
    page = as_page(view)
    assert page.count("</script>") == 1
    outside = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|src=|<link|@import|fetch\(", outside)
    found = re.search(r"const data = (.*);\n", page)
    assert found is not None
    data = json.loads(found[1])
    assert data["programs"][0]["kernels"][1]["share"] == pytest.approx(0.25)
    assert data["fallbacks"] == [["it prints", "train.py:3 print(<x>)"]]


# Does what a user would, and says what is to be seen then.
SCRIPT = """
const texts = selector => [...document.querySelectorAll(selector)].map(e => e.textContent);
const click = e => e.dispatchEvent(new MouseEvent("click", { bubbles: true }));
const firsts = () => texts("#kernels tbody tr td:first-child").join(" ");
say(element("notes").textContent);
say("by time " + firsts());
click(document.querySelectorAll("#kernels th")[0]);
say("by number " + firsts());
click(document.querySelectorAll("#kernels th")[7]);
say("by GB/s " + firsts());
say(texts("#kernels tr:nth-child(1) td").slice(3).join(", "));
click(document.querySelector("#kernels tbody tr"));
say(texts("#details pre").join("; "));
click(document.querySelector("#details a"));
say("after " + document.querySelectorAll("#picture .box").length);
say("chosen " + texts("#picture .chosen text")[0]);
const before = svg.getAttribute("viewBox");
svg.dispatchEvent(new WheelEvent("wheel", { deltaY: -300, clientX: 200, clientY: 200 }));
say("zoomed " + (Number(svg.getAttribute("viewBox").split(" ")[2]) < before.split(" ")[2]));
click(element("to-before"));
say("before " + document.querySelectorAll("#picture .box").length);
element("search").value = "negative"; element("search").dispatchEvent(new Event("input"));
say("faded " + document.querySelectorAll("#picture .faded").length);
click(element("to-guards"));
say("searched " + texts("#guards tbody tr:not([hidden])").length);
element("search").value = ""; element("search").dispatchEvent(new Event("input"));
say(texts("#guards tbody tr td:last-child").join(" "));
click(element("to-fallbacks"));
say(texts("#to-fallbacks")[0] + ": " + texts("#fallbacks li")[0]);
element("program").value = "1"; element("program").dispatchEvent(new Event("change"));
click(element("to-kernels"));
say(texts("#kernels")[0]);
"""


def test_what_a_user_does(
    view: FunctionView, seen_in_browser: Callable[[str, str], list[str]]
) -> None:
    assert seen_in_browser(as_page(view), SCRIPT) == [
        "a call takes 6.00 µs, at least 5.00 µs; its steps, one by one, 5.00 µs",
        "by time 1 0", "by number 0 1", "by GB/s 1 0",
        "5.9 KiB, 2.0 KiB, 4.00 µs, 80 %, 2.00, 1.00, 25 %", "v0 = exp(x); %0 = input 0",
        "after 3", "chosen exp", "zoomed true", "before 5", "faded 3", "searched 0", "no yes",
        "Ran as it is (1): it printstrain.py:3 print(<x>)", "No kernels: it runs through NumPy",
    ]


def test_a_function_without_programs(seen_in_browser: Callable[[str, str], list[str]]) -> None:
    page = as_page(FunctionView("f", 0, 3, [], [("no", None)]))
    assert seen_in_browser(page, """
say([...document.querySelectorAll("#fallbacks li")].map(e => e.textContent).join());
say(String(element("fallbacks").hidden));
element("to-after").click(); element("search").dispatchEvent(new Event("input"));
element("to-kernels").click();
say(element("kernels").textContent);
""") == ["no", "false", "There is no program: see what ran as it is."]
