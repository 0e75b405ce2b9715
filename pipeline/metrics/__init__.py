"""The one table of competition metrics. Knows arrays only."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.metrics.classes import CLASS_FAMILIES, CLASSES
from pipeline.metrics.metric import Metric, MetricFamily, Task, mean_of_targets, score_text
from pipeline.metrics.numbers import NUMBER_FAMILIES, NUMBERS
from pipeline.metrics.own import own_metric

__all__ = [
    "DEFAULT_METRIC",
    "METRICS",
    "METRIC_FAMILIES",
    "Metric",
    "MetricFamily",
    "Task",
    "mean_of_targets",
    "metric_to_blend",
    "score_text",
]

METRIC_FAMILIES: tuple[MetricFamily, ...] = (*NUMBER_FAMILIES, *CLASS_FAMILIES)


class _Metrics(dict[str, Metric]):
    """Metrics by name. Members of families are made when they are asked for; iteration passes them over."""

    def __missing__(self, name: str) -> Metric:
        for family in METRIC_FAMILIES:
            member = family.member(name)
            if member is not None:
                return member
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or any(f.member(name) for f in METRIC_FAMILIES if isinstance(name, str))


def metric_to_blend(name: str) -> Metric:
    """The metric by whose scale predictions are averaged."""
    return METRICS[name] if name in METRICS else own_metric(name, reads="value")


METRICS: Mapping[str, Metric] = _Metrics({metric.name: metric for metric in (*NUMBERS, *CLASSES)})
DEFAULT_METRIC: dict[Task, str] = {"regression": "rmse", "binary": "accuracy", "multiclass": "accuracy"}
