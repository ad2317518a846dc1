"""Many rounds in one process: the four stages, one after the other, in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from skymask.federation.aggregate import aggregate, averaged_statistics
from skymask.federation.attack import attack
from skymask.federation.checkpoint import Progress
from skymask.federation.evaluate import evaluate
from skymask.federation.federation import Federation
from skymask.federation.records import aggregate_row, client_rows, layer_rows, metrics_row
from skymask.federation.timing import Row, timed
from skymask.federation.train import train, training_data


@dataclass
class Span:
    """What a span of rounds leaves behind, besides the progress it ends with."""

    clients: list[Row] = field(default_factory=list)
    aggregates: list[Row] = field(default_factory=list)
    layers: list[Row] = field(default_factory=list)
    metrics: list[Row] = field(default_factory=list)
    timings: list[Row] = field(default_factory=list)
    updates: dict[int, Tensor] = field(default_factory=dict)


def run_span(
    federation: Federation,
    progress: Progress,
    rounds: range,
    keep_updates: frozenset[int] = frozenset(),
    on_round: Callable[[int], None] | None = None,
    keep: Callable[[int, Tensor], None] | None = None,
) -> tuple[Progress, Span]:
    """Carry ``progress`` through ``rounds``.

    The updates of rounds in ``keep_updates`` are given to ``keep``, a round at a time, as they are
    about to be judged; without it they are collected in the span.
    """
    run, span = federation.experiment, Span()
    keep = keep or span.updates.__setitem__
    data = training_data(federation)
    model, attacker, defender = (
        progress.global_parameters,
        progress.attack_state,
        progress.defense_state,
    )
    statistics = progress.statistics
    if statistics is None:
        statistics = federation.initial_statistics()
    for round_ in rounds:
        with timed(span.timings, round_, "train", run.device):
            updates, trained = train(federation, data, model, round_, statistics)
        with timed(span.timings, round_, "attack", run.device):
            updates, attacker = attack(federation, updates, model, attacker, round_)
        if round_ in keep_updates:
            keep(round_, updates)
        with timed(span.timings, round_, "aggregate", run.device):
            model, verdict, defender = aggregate(federation, updates, model, defender, round_)
            statistics = averaged_statistics(trained, verdict, statistics)
        aggregated = aggregate_row(round_, federation.malicious, verdict)
        span.clients += client_rows(round_, federation.malicious, verdict)
        span.aggregates.append(aggregated)
        span.layers += layer_rows(round_, federation.model.layout, federation.malicious, verdict)
        if run.evaluates(round_):
            with timed(span.timings, round_, "evaluate", run.device):
                span.metrics.append(
                    metrics_row(round_, evaluate(federation, model, statistics), aggregated)
                )
        if on_round is not None:
            on_round(round_)
    return Progress(model, attacker, defender, statistics), span
