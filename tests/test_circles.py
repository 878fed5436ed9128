"""No module depends on itself by way of others, imports for type checkers included.

import-linter holds the layers of packages; this looks at single modules, and also at what stands under ``if TYPE_CHECKING``.
"""

from __future__ import annotations

import grimp
import networkx as nx

PLOTS = "simtx.report.pictures.accessors"
"""What the `plot` of a result is, for editors alone: results name a class that stands above them."""


def circles() -> list[set[str]]:
    graph = grimp.build_graph("simtx", exclude_type_checking_imports=False)
    edges = nx.DiGraph(
        (module, other)
        for module in graph.modules
        for other in graph.find_modules_directly_imported_by(module)
        if other != PLOTS or module.startswith("simtx.report")
    )
    return [set(one) for one in nx.strongly_connected_components(edges) if len(one) > 1]


def test_modules_go_in_no_circles() -> None:
    assert [", ".join(sorted(circle)) for circle in circles()] == []
