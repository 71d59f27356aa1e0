"""Drawings of routings and cells as layered graphs.

Routings are in the spirit of Liang 2018, Fig. 9: nodes are coloured by module, an edge
is as wide as its share of the soft merge, and a diamond on it stands for an adapter (a
2x2 max-pool). Cells show their operations, and a plus for each block. Imports no JAX.
"""

from html import escape
from typing import Any

from evojax_mtl.runs.layout import layout

COLORS = (
    "#3f72af",
    "#e07b39",
    "#4f9d69",
    "#8e6bb0",
    "#c94f5d",
    "#3aa6a1",
    "#d1a827",
    "#8c6d5a",
    "#6b7785",
)
_HALF_WIDTH, _HALF_HEIGHT = 20.0, 13.0
_DIAMOND = 4.5
_ENDS = {"input": "in", "output": "out"}
Point = tuple[float, float]


def module_color(module: int) -> str:
    """Colour of a module, the same in every drawing."""
    return COLORS[module % len(COLORS)]


def draw(network: dict[str, Any]) -> str:
    """One network of ``best.json`` as an SVG element.

    Args:
      network: ``name``, ``nodes`` and ``edges``, as ``Search.describe`` gives them.

    Raises:
      ValueError: if it is no directed acyclic graph.
    """
    nodes, edges = network["nodes"], network["edges"]
    ends = [node["id"] for node in nodes if node["kind"] == "output"]
    placed = layout(
        [node["id"] for node in nodes],
        [(edge["source"], edge["target"]) for edge in edges],
        last=ends[0] if ends else None,
    )
    name = escape(str(network["name"]), quote=True)
    parts = [
        f'<svg class="routing" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-label="Routing of {name}" width="{placed.width:.0f}" '
        f'height="{placed.height:.0f}" '
        f'viewBox="0 0 {placed.width:.0f} {placed.height:.0f}">'
    ]
    lines = list(zip(edges, placed.edges, strict=True))
    parts += [_edge(edge, points) for edge, points in lines]
    parts += [_adapters(edge, points) for edge, points in lines]
    parts += [_node(node, placed.nodes[node["id"]]) for node in nodes]
    return "\n".join([*parts, "</svg>"])


def legend(modules: int) -> str:
    """An SVG element that explains the drawings of ``modules`` modules."""
    parts, x = [], 4.0
    for module in range(modules):
        parts.append(
            f'<rect x="{x}" y="4" width="26" height="18" rx="6" '
            f'fill="{module_color(module)}"/>'
            f'<text class="label" x="{x + 13}" y="17">M{module + 1}</text>'
        )
        x += 34
    x += 8
    for weight in (0.2, 0.6, 1.0):
        parts.append(
            f'<path class="edge" d="M{x} 13h22" stroke-width="{_width(weight):.2f}"/>'
        )
        x += 30
    parts.append(f'<text class="key" x="{x + 4}" y="17">soft-merge weight</text>')
    x += 146
    parts.append(f'<path class="edge" d="M{x} 13h30" stroke-width="3"/>')
    parts.append(_diamond((x + 15, 13.0)))
    parts.append(f'<text class="key" x="{x + 38}" y="17">adapter (2x2 max-pool)</text>')
    x += 210
    return (
        f'<svg class="legend" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-label="Legend" width="{x:.0f}" height="26" viewBox="0 0 {x:.0f} 26">'
        + "".join(parts)
        + "</svg>"
    )


_SHORT = {
    "convolution": "C",
    "conv1d": "C",
    "separable": "S",
    "dilated": "D",
    "identity": "id",
    "max": "max",
    "average": "avg",
    "lstm": "LSTM",
    "gru": "GRU",
    "dropout": "drop",
}


def short_name(operation: str) -> str:
    """Of an operation: ``S5`` for ``separable_5x5``, ``C3``, ``max``, ``id``."""
    kind, *rest = operation.split("_")
    sized = ("separable", "dilated", "convolution", "conv1d")
    size = rest[-1][0] if kind in sized else ""
    return _SHORT.get(kind, kind) + size


def operation_legend(networks: list[dict[str, Any]]) -> str:
    """An SVG element that explains the operations of these graphs."""
    found = {
        (node["operation"], node["name"])
        for network in networks
        for node in network["nodes"]
        if node["kind"] == "operation"
    }
    parts, x = [], 4.0
    for number, name in sorted(found):
        words = name.replace("_", " ")
        parts.append(
            f'<rect x="{x}" y="4" width="32" height="18" rx="6" '
            f'fill="{module_color(number)}"/>'
            f'<text class="label" x="{x + 16}" y="17">{short_name(name)}</text>'
            f'<text class="key" x="{x + 38}" y="17">{words}</text>'
        )
        x += 58 + 7 * len(words)
    return (
        f'<svg class="legend" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-label="Legend" width="{x:.0f}" height="26" viewBox="0 0 {x:.0f} 26">'
        + "".join(parts)
        + "</svg>"
    )


def _width(weight: float) -> float:
    return 0.8 + 5.2 * max(0.0, min(1.0, weight))


def _edge(edge: dict[str, Any], points: list[Point]) -> str:
    (x, y), *rest = points
    path = [f"M{x:.1f} {y:.1f}"]
    for u, v in rest:
        middle = (x + u) / 2
        path.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {v:.1f} {u:.1f} {v:.1f}")
        x, y = u, v
    if "weight" not in edge:
        return f'<path class="edge" d="{"".join(path)}" stroke-width="1.6"/>'
    weight, adapters = edge["weight"], edge.get("adapters", 0)
    told = f"weight {weight:.3f}, {adapters} adapter{'' if adapters == 1 else 's'}"
    return (
        f'<path class="edge" d="{"".join(path)}" stroke-width="{_width(weight):.2f}">'
        f"<title>{told}</title></path>"
    )


def _adapters(edge: dict[str, Any], points: list[Point]) -> str:
    """Diamonds in the middle of the edge's middle span, side by side."""
    count = int(edge.get("adapters", 0))
    first = (len(points) - 1) // 2
    (x, y), (u, v) = points[first], points[first + 1]
    x += _HALF_WIDTH if first == 0 else 0
    u -= _HALF_WIDTH if first + 2 == len(points) else 0
    spread = min(0.22, 0.7 / count) if count else 0.0
    parts = []
    for k in range(count):
        t = 0.5 + spread * (k - (count - 1) / 2)
        # The curve between two layers, by its end points' heights.
        ease = t * t * (3 - 2 * t)
        parts.append(_diamond((x + t * (u - x), y + ease * (v - y))))
    return "".join(parts)


def _diamond(centre: Point) -> str:
    x, y = centre
    d = _DIAMOND
    return (
        f'<path class="adapter" d="M{x - d:.1f} {y:.1f}l{d} {-d}l{d} {d}l{-d} {d}z"/>'
    )


def _node(node: dict[str, Any], centre: Point) -> str:
    x, y = centre
    left, top = x - _HALF_WIDTH, y - _HALF_HEIGHT
    size = f'width="{2 * _HALF_WIDTH}" height="{2 * _HALF_HEIGHT}"'
    if node["kind"] == "sum":
        return (
            f'<circle class="end" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
            f'<text class="end-label" x="{x:.1f}" y="{y + 4:.1f}">+</text>'
        )
    if node["kind"] in _ENDS:
        label = escape(str(node.get("label", _ENDS[node["kind"]])))
        return (
            f'<rect class="end" x="{left:.1f}" y="{top:.1f}" {size} rx="13"/>'
            f'<text class="end-label" x="{x:.1f}" y="{y + 4:.1f}">{label}</text>'
        )
    if node["kind"] == "operation":
        number, told = int(node["operation"]), str(node["name"]).replace("_", " ")
        label = short_name(str(node["name"]))
        if "filters" in node:
            told += (
                f", {node['filters']} channels, {node['activation']}, "
                f"dropout {node['dropout']:.2f}"
            )
    else:
        number = int(node["module"])
        label = told = f"M{number + 1}"
        if "resolution" in node:
            told += f" at resolution {node['resolution']}"
        if "weights" in node:
            told += f", weights {node['weights'] + 1}"
    return (
        f'<g><title>{escape(told)}</title><rect x="{left:.1f}" y="{top:.1f}" {size} '
        f'rx="7" fill="{module_color(number)}"/>'
        f'<text class="label" x="{x:.1f}" y="{y + 4:.1f}">{escape(label)}</text></g>'
    )
