"""``summary.json`` and ``best.json``: results of a run, whole and per search.

Shape legend: ``P`` searches, ``T`` tasks.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evojax_mtl.runs.settings import Settings


def mean_and_error(values: Any) -> tuple[Any, Any]:
    """Mean and standard error over the first axis; the error of one value is 0."""
    values = np.asarray(values, float)
    count = len(values)
    if count < 2:
        return values.mean(0), np.zeros(values.shape[1:])
    return values.mean(0), values.std(0, ddof=1) / math.sqrt(count)


def outcome(
    settings: Settings,
    names: Sequence[str],
    metrics: Sequence[str],
    validation: np.ndarray,
    test: np.ndarray | None,
    measured: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """The part of a summary that tells how good the result is.

    Args:
      settings: the run.
      names: of the tasks.
      metrics: name of each task's metric.
      validation: of the result, ``(P, T)``.
      test: likewise, or None before the search has ended.
      measured: further metrics on the test split, ``()`` or ``(P,)``.

    Returns:
      ``tasks``, ``mean_validation`` and ``mean_test`` (means over the searches), and
      ``test_metrics`` where there are further ones; with several searches also their
      standard errors and the list ``seeds``, and with swept fields the list ``sweep``,
      one entry a combination of values.
    """
    missing = np.full_like(validation, np.nan)
    scores = {"validation": validation, "test": missing if test is None else test}
    result: dict[str, Any] = {"tasks": _tasks(names, metrics, scores)}
    result |= _means(scores)
    if measured:
        result["test_metrics"] = {k: float(np.mean(v)) for k, v in measured.items()}
    members = settings.members
    if len(members) == 1:
        return result
    result["seeds"] = []
    for i, member in enumerate(members):
        own = {split: values[i : i + 1] for split, values in scores.items()}
        entry: dict[str, Any] = {"seed": member.seed} | member.changes
        entry |= {f"mean_{split}": v.mean() for split, v in own.items()}
        entry["tasks"] = _tasks(names, metrics, own)
        if measured:
            entry["test_metrics"] = {k: float(v[i]) for k, v in measured.items()}
        result["seeds"].append(entry)
    if settings.sweep:
        result["sweep"] = []
        for first in range(0, len(members), settings.seeds):
            own = {s: v[first : first + settings.seeds] for s, v in scores.items()}
            result["sweep"].append(members[first].changes | _means(own))
    return result


def _means(scores: dict[str, np.ndarray]) -> dict[str, Any]:
    result = {}
    for split, values in scores.items():
        mean, error = mean_and_error(values.mean(1))
        result[f"mean_{split}"] = mean
        if len(values) > 1:
            result[f"mean_{split}_standard_error"] = error
    return result


def _tasks(
    names: Sequence[str], metrics: Sequence[str], scores: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for t, (name, metric) in enumerate(zip(names, metrics, strict=True)):
        row: dict[str, Any] = {"name": name, "metric": metric}
        for split, values in scores.items():
            mean, error = mean_and_error(values[:, t])
            row[split] = mean
            if len(values) > 1:
                row[f"{split}_standard_error"] = error
        rows.append(row)
    return rows


def best(settings: Settings, described: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """``best.json``: what each search found; no times, so that reruns are equal."""
    head = {"method": settings.method, "generations": settings.config.generations}
    entries = [
        {"seed": member.seed} | ({"swept": member.changes} if member.changes else {})
        for member in settings.members
    ]
    found = [own | what for own, what in zip(entries, described, strict=True)]
    return head | (found[0] if len(found) == 1 else {"searches": found})


def evaluations(lines: Sequence[dict[str, Any]]) -> int | None:
    """Individuals scored, all searches together; None if the metrics do not tell."""
    counts = [line["evaluations"] for line in lines if "evaluations" in line]
    return int(sum(np.sum(count) for count in counts)) if counts else None
