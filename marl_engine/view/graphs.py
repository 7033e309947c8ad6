"""Pictures of the graph of a team: which seats see whose actions, over the course of training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marl_engine.runs.folder import metric_column
from marl_engine.types import main_unit
from marl_engine.view.plots import new_figure

MOMENTS = 5  # graphs in a picture
FAINTEST = 0.02  # edges that are rarer are not drawn
COLOUR = (0.0, 0.45, 0.7)

Edge = tuple[str, str]  # a parent and its child


def edge_shares(record: Mapping[str, float]) -> dict[Edge, float]:
    """Returns how often each edge was in the graphs of an iteration, from its metrics `edge/PARENT/CHILD`."""
    names = {name: name.split("/") for name in record if name.startswith("edge/")}
    return {(parent, child): record[name] for name, (_, parent, child) in names.items()}


def save_graphs(records: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Draws the graphs of a team at MOMENTS moments of training, and their density over time; saves a PNG.

    Nothing is written if the records are not those of a team whose seats see each other's actions.
    """
    teams = [record for record in records if edge_shares(record)]
    if not teams:
        return
    figure = new_figure(2.2 * MOMENTS, 4.4)
    grid = figure.add_gridspec(2, MOMENTS, height_ratios=(3, 2))
    for place, number in enumerate(np.linspace(0, len(teams) - 1, MOMENTS).round().astype(int)):
        record, axes = teams[number], figure.add_subplot(grid[0, place])
        draw_graph(axes, edge_shares(record))
        axes.set_title(f"{record[main_unit(record)]:,.0f} {main_unit(record)}", fontsize="small")
    axes = figure.add_subplot(grid[1, :])
    axes.plot(*metric_column(teams, "density"), color=COLOUR)
    axes.set(xlabel=main_unit(teams[-1]), ylabel="share of possible edges", ylim=(-0.03, 1.03))
    axes.grid(alpha=0.3)
    figure.suptitle(title, parse_math=False)
    figure.savefig(path, dpi=110)


def draw_graph(axes: Any, shares: Mapping[Edge, float]) -> None:
    """Draws seats in a circle, with an arrow from each parent to its child; the rarer an edge, the fainter."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(sorted({seat for edge in shares for seat in edge}, key=int))
    graph.add_edges_from(edge for edge, share in shares.items() if share >= FAINTEST)
    places = networkx.circular_layout(graph)
    networkx.draw_networkx_nodes(graph, places, ax=axes, node_color="white", edgecolors="black", node_size=250)
    networkx.draw_networkx_labels(graph, places, ax=axes, font_size=9)
    colours = [(*COLOUR, shares[edge]) for edge in graph.edges]
    networkx.draw_networkx_edges(
        graph, places, ax=axes, edge_color=colours, node_size=250, connectionstyle="arc3,rad=0.12"
    )
    axes.margins(0.15)
    axes.axis("off")
