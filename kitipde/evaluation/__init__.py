"""Errors, resolution generalisation and statistics over seeds."""

from kitipde.evaluation.comparison import RunComparison, compare_evaluations, compare_runs
from kitipde.evaluation.evaluate import evaluate_runs
from kitipde.evaluation.records import METRICS, Evaluation, Examples, Metric
from kitipde.evaluation.summary import Estimate, Summary, summarise

__all__ = [
    "METRICS",
    "Estimate",
    "Evaluation",
    "Examples",
    "Metric",
    "RunComparison",
    "Summary",
    "compare_evaluations",
    "compare_runs",
    "evaluate_runs",
    "summarise",
]
