"""A scenario shows itself: as a graph, as text for a terminal, as tables for a notebook."""

from html.parser import HTMLParser

import pytest

from simtx.scenario import from_dict, load, names


def test_graph_has_all_nodes_with_zones_and_links_with_latencies():
    graph = load("checkout-regions").graph()
    assert set(graph) == {"orders", "inventory", "payments", "shipping", "hub", "broker"}
    assert graph.nodes["payments"] == {"zone": "london", "kind": "service"}
    assert graph.nodes["hub"]["kind"] == "hub"
    assert graph.edges["orders", "payments"]["latency_ms"] == pytest.approx(6.5)
    assert graph.number_of_edges() == 6 * 5


def test_graph_has_the_client_if_it_is_somewhere(purchase):
    graph = from_dict(purchase).replace(**{"network.client_zone": "sydney", "network.loss": 0.25}).graph()
    assert graph.nodes["client"]["zone"] == "sydney"
    assert graph.edges["client", "shop"] == {"latency_ms": pytest.approx(125), "loss": 0.25}


def test_text_names_what_matters(purchase):
    scenario = from_dict({**purchase, "title": "A purchase"}, name="purchase").replace(**{"workload.rate": 150})
    lines = scenario.describe().splitlines()
    assert lines[0] == "purchase: A purchase"
    cells = [line.split() for line in lines]
    assert ["order", "shop", "compensatable", "booked:{customer}", "+price", "booked:{customer}", "-price"] in cells
    assert ["workload", "poisson,", "150/s"] in cells
    assert ["changed", "workload.rate", "=", "150"] in cells
    assert any(line.lstrip().startswith("warning") and "saturated" in line for line in lines)


@pytest.mark.parametrize(
    ("workload", "text"),
    [
        ({"kind": "closed", "users": 5, "think_time": 1}, "closed, 5 users, think time 1 s"),
        ({"kind": "profile", "profile": [[0, 5], [60, 9]]}, "profile, 5/s from 0, 9/s from 1 min"),
        (
            {"kind": "bursty", "burst_rate": 100, "burst_on": 2, "burst_off": 8},
            "bursty, 100/s for 2 s, 0/s for 8 s (averages)",
        ),
    ],
)
def test_workloads_in_one_line(purchase, workload, text):
    scenario = from_dict({**purchase, "workload": workload})
    assert any(line.strip() == f"workload   {text}" for line in scenario.describe().splitlines())


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("name", names())
def test_html_is_well_formed_and_shows_services_steps_and_assumptions(name):
    scenario = load(name)
    parser = _Tags()
    parser.feed(scenario._repr_html_())
    assert parser.open == []
    shown = set(parser.text)
    assert set(scenario.services) <= shown
    assert {step.name for step in scenario.transaction.steps} <= shown
    assert set(scenario.assumptions) <= shown


def test_html_escapes_what_users_write(purchase):
    assert "<script>" not in from_dict({**purchase, "title": "<script>"})._repr_html_()


def test_html_has_no_raw_backticks(purchase):
    shown = from_dict({**purchase, "description": "As `a<b`, or `c."})._repr_html_()
    assert "<p>As <code>a&lt;b</code>, or `c.</p>" in shown
    assert "`" not in load("transfer-lab")._repr_html_()
    assert "`" in load("transfer-lab").describe()


def test_repr_is_one_line(purchase):
    scenario = from_dict(purchase, name="purchase").replace(**{"workload.rate": 5})
    assert repr(scenario) == "<Scenario purchase: 2 services, 2 steps, changed: workload.rate>"
