"""Looks inside autograd: the graph that a computation leaves behind, as text and as a picture.

Every tensor that was computed from one with `requires_grad` knows the node that made it,
`grad_fn`; every node knows, in `next_functions`, where to send the gradients of its inputs. That
is all there is, and this program walks it: it lists the nodes, draws them, and watches with hooks
how the gradients pass through.

    python examples/inside_autograd.py --output output/inside_autograd
"""

import argparse
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def compute():
    """Two layers of a very small network, and a penalty that uses the first weights again."""
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    leaves = {
        "weights": torch.randn(3, 4, requires_grad=True),
        "bias": torch.zeros(4, requires_grad=True),
        "readout": torch.randn(4, requires_grad=True),
    }
    hidden = torch.tanh(x @ leaves["weights"] + leaves["bias"])
    loss = (hidden @ leaves["readout"]).square().mean() + 0.01 * leaves["weights"].abs().sum()
    return loss, leaves


def walk(root):
    """All nodes behind `root`, each after the nodes that feed gradients into it."""
    waiting, order, feeders = [root], [], {root: 0}
    while waiting:
        node = waiting.pop()
        for following, _ in node.next_functions:
            if following is not None:
                if following not in feeders:
                    feeders[following] = 0
                    waiting.append(following)
                feeders[following] += 1
    ready = [root]
    while ready:
        node = ready.pop()
        order.append(node)
        for following, _ in node.next_functions:
            if following is not None:
                feeders[following] -= 1
                if feeders[following] == 0:
                    ready.append(following)
    return order


def label(node, names):
    """The node's own name; for the ends of the graph, the leaf whose `.grad` it fills."""
    if hasattr(node, "variable"):
        return f"{names[node.variable]} {tuple(node.variable.shape)}"
    return node.name()


def print_graph(order, names):
    number = {node: index for index, node in enumerate(order)}
    for node in order:
        targets = [
            f"{number[following]}" if following is not None else "-"
            for following, _ in node.next_functions
        ]
        arrow = f" -> {', '.join(targets)}" if targets else ""
        print(f"{number[node]:3d}  {label(node, names)}{arrow}")


def draw_graph(order, names, picture):
    """Rows by the longest way from the loss, so that every arrow points down."""
    depth = dict.fromkeys(order, 0)
    for node in order:
        for following, _ in node.next_functions:
            if following is not None:
                depth[following] = max(depth[following], depth[node] + 1)
    rows = [[] for _ in range(max(depth.values()) + 1)]
    for node in order:
        rows[depth[node]].append(node)
    place = {
        node: ((column + 1) / (len(row) + 1), -depth[node])
        for row in rows for column, node in enumerate(row)
    }
    figure, axis = plt.subplots(figsize=(7, 0.62 * len(rows) + 0.6), layout="constrained")
    for node in order:
        for following, _ in node.next_functions:
            if following is not None:
                axis.annotate(
                    "", xy=place[following], xytext=place[node],
                    arrowprops={"arrowstyle": "->", "color": "0.5", "shrinkA": 9, "shrinkB": 9},
                )
        color = "lightsteelblue" if hasattr(node, "variable") else "0.93"
        axis.text(
            *place[node], label(node, names), ha="center", va="center", fontsize=8,
            bbox={"boxstyle": "round", "facecolor": color, "edgecolor": "0.5"},
        )
    axis.set(xlim=(0, 1), ylim=(-len(rows) + 0.4, 0.6))
    axis.set_axis_off()
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def watch_backward(loss, order, names):
    """Runs the backward pass and prints each node when it has sent its gradients on."""
    def report(node):
        def hook(sent, received):
            shapes = " ".join(str(tuple(grad.shape)) for grad in received if grad is not None)
            print(f"  {label(node, names):<24} got a gradient of shape {shapes}")
        return hook

    handles = [node.register_hook(report(node)) for node in order if not hasattr(node, "variable")]
    loss.backward()
    for handle in handles:
        handle.remove()


def main():
    parser = argparse.ArgumentParser(description="The graph behind a loss, listed and drawn.")
    parser.add_argument("--output", type=Path, default=Path("output/inside_autograd"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    loss, leaves = compute()
    names = {leaf: name for name, leaf in leaves.items()}
    order = walk(loss.grad_fn)
    print(f"a loss of {loss:.4f} has {len(order)} nodes behind it:\n")
    print_graph(order, names)
    draw_graph(order, names, options.output / "graph.png")

    print("\nthe backward pass, as it happens:")
    watch_backward(loss, order, names)
    print("\nwhat arrives at the leaves:")
    for name, leaf in leaves.items():
        print(f"  {name:<10} norm {leaf.grad.norm():.4f}")
    print(f"\npicture in {options.output / 'graph.png'}")


if __name__ == "__main__":
    main()
