"""Errors, resolution generalisation and statistics over seeds."""

from kitipde.evaluation.comparison import RunComparison, compare_evaluations, compare_runs
from kitipde.evaluation.evaluate import evaluate_runs
from kitipde.evaluation.metrics import METRICS, Metric
from kitipde.evaluation.records import Evaluation, Examples
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
