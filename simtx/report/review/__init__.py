"""Design-review reports: one HTML page that needs nothing else, a decision record and a CSV file, from a comparison, a sweep or a run."""

from simtx.report.review.build import BY, WHERE, Asked, Review
from simtx.report.review.files import Written, write

__all__ = ["BY", "WHERE", "Asked", "Review", "Written", "write"]
