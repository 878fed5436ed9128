"""A small scenario to change."""

from copy import deepcopy
from typing import Any

import pytest

PURCHASE: dict[str, Any] = {
    "services": {
        "shop": {"service_time": 0.004, "zone": "frankfurt/a"},
        "bank": {"service_time": {"distribution": "exponential", "average": 0.008}, "zone": "frankfurt/b"},
    },
    "transaction": {
        "parameters": {
            "customer": {"population": 50, "prefix": "c"},
            "price": {"values": {"distribution": "uniform", "low": 1, "high": 9}},
        },
        "steps": [
            {
                "name": "order",
                "service": "shop",
                "operations": [{"key": "booked:{customer}", "parameter": "price"}],
                "compensation": [{"key": "booked:{customer}", "parameter": "price", "amount": -1}],
            },
            {
                "name": "charge",
                "service": "bank",
                "kind": "pivot",
                "operations": [{"key": "charged:{customer}", "parameter": "price"}],
            },
        ],
    },
    "invariants": [
        {
            "name": "money",
            "kind": "conserved",
            "unit": "EUR",
            "terms": [
                {"service": "shop", "prefix": "booked:"},
                {"service": "bank", "prefix": "charged:", "weight": -1},
            ],
        }
    ],
    "workload": {"rate": 60},
    "run": {"transactions": 500},
}


@pytest.fixture
def purchase() -> dict[str, Any]:
    """Two services, two steps and a conserved sum, as a dict; each test has its own copy."""
    return deepcopy(PURCHASE)
