"""Tables, plots, message diagrams and spans: what a user sees of a result. Needs nothing above `simtx.metrics`."""

from simtx.report.chrome import save_chrome, to_chrome
from simtx.report.otlp import save_otlp, to_otlp

__all__ = ["save_chrome", "save_otlp", "to_chrome", "to_otlp"]
