"""Errors, resolution generalisation and statistics over seeds."""

from kitipde.evaluation.comparison import RunComparison, compare_evaluations, compare_runs
from kitipde.evaluation.evaluate import evaluate_runs
from kitipde.evaluation.mesh import all_on_mesh, evaluate_mesh_runs
from kitipde.evaluation.mesh_records import MESH_METRICS, MeshEvaluation, MeshSummary, summarise_mesh
from kitipde.evaluation.records import METRICS, Evaluation, Examples, Metric
from kitipde.evaluation.summary import Estimate, Summary, summarise

__all__ = [
    "MESH_METRICS",
    "METRICS",
    "Estimate",
    "Evaluation",
    "Examples",
    "MeshEvaluation",
    "MeshSummary",
    "Metric",
    "RunComparison",
    "Summary",
    "all_on_mesh",
    "compare_evaluations",
    "compare_runs",
    "evaluate_mesh_runs",
    "evaluate_runs",
    "summarise",
    "summarise_mesh",
]
