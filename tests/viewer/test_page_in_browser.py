"""The page of a graph in a real browser: clicking, following links, zooming and searching."""

from __future__ import annotations

from collections.abc import Callable

import taper as torch

# Does what a user would, and leaves what is to be seen then in the page.
SCRIPT = """
const svg2 = document.querySelector("#picture svg");
const click = n => boxOf.get(n).dispatchEvent(new MouseEvent("click", { bubbles: true }));
say("boxes " + document.querySelectorAll(".box").length);
click(1);
say("title " + details.querySelector("h1").textContent);
say("near " + document.querySelectorAll(".near").length);
say("chosen " + document.querySelector(".chosen").dataset.n);
details.querySelector("a").click();
say("followed " + details.querySelector("h1").textContent);
const before = svg2.getAttribute("viewBox");
svg2.dispatchEvent(new WheelEvent("wheel", { deltaY: -300, clientX: 200, clientY: 200 }));
const zoomed = svg2.getAttribute("viewBox").split(" ").map(Number);
say("zoomed in " + (zoomed[2] < Number(before.split(" ")[2])));
svg2.dispatchEvent(new PointerEvent("pointerdown", { clientX: 100, clientY: 100, bubbles: true }));
window.dispatchEvent(new PointerEvent("pointermove", { clientX: 150, clientY: 100 }));
window.dispatchEvent(new PointerEvent("pointerup", {}));
say("moved " + (Number(svg2.getAttribute("viewBox").split(" ")[0]) < zoomed[0]));
svg2.dispatchEvent(new MouseEvent("dblclick"));
say("fits again " + (svg2.getAttribute("viewBox") === before));
const search = document.getElementById("search");
search.value = "exp"; search.dispatchEvent(new Event("input"));
say("faded " + document.querySelectorAll(".faded").length);
"""


def test_what_a_user_does(seen_in_browser: Callable[[str, str], list[str]]) -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    page = torch.graph((w * 2).exp().sum(), names={"w": w}).html()
    assert seen_in_browser(page, SCRIPT) == [
        "boxes 5", "title MulBackward0 #1", "near 2", "chosen 1", "followed w #0",
        "zoomed in true", "moved true", "fits again true", "faded 2",
    ]
