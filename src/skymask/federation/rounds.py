"""Many rounds of the four stages in one process."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from skymask.federation.aggregate import aggregate, averaged_statistics
from skymask.federation.attack import attack
from skymask.federation.evaluate import evaluate
from skymask.federation.federation import Checkpoint, Federation
from skymask.federation.records import aggregate_row, client_rows, layer_rows, metrics_row
from skymask.federation.timing import Row, timed
from skymask.federation.train import train, training_data


@dataclass
class Span:
    """Rows of a span of rounds, and the updates that were kept in memory, by round."""

    clients: list[Row] = field(default_factory=list)
    aggregates: list[Row] = field(default_factory=list)
    layers: list[Row] = field(default_factory=list)
    metrics: list[Row] = field(default_factory=list)
    timings: list[Row] = field(default_factory=list)
    updates: dict[int, Tensor] = field(default_factory=dict)


def run_span(
    federation: Federation,
    checkpoint: Checkpoint,
    rounds: range,
    keep_updates: frozenset[int] = frozenset(),
    on_round: Callable[[int], None] | None = None,
    keep: Callable[[int, Tensor], None] | None = None,
) -> tuple[Checkpoint, Span]:
    """Run several rounds.

    Args:
        federation: Parties of the run.
        checkpoint: State of the run before the first of the rounds.
        rounds: Rounds, from 1.
        keep_updates: Rounds whose updates are kept.
        on_round: Function called with each round when it is done.
        keep: Function called with such a round and its updates [n, d], before they are aggregated;
            without it they are collected in the span.

    Returns:
        The state after the last round, and the rows of all rounds.
    """
    run, span = federation.experiment, Span()
    malicious, layout = federation.malicious, federation.model.layout
    keep = keep or span.updates.__setitem__
    data = training_data(federation)
    model, statistics = checkpoint.global_parameters, checkpoint.statistics
    attack_state, defense_state = checkpoint.attack_state, checkpoint.defense_state
    if statistics is None:
        statistics = federation.initial_statistics()
    for round_ in rounds:
        with timed(span.timings, round_, "train", run.device):
            updates, trained = train(federation, data, model, round_, statistics)
        with timed(span.timings, round_, "attack", run.device):
            updates, attack_state = attack(federation, updates, model, attack_state, round_)
        if round_ in keep_updates:
            keep(round_, updates)
        with timed(span.timings, round_, "aggregate", run.device):
            model, verdict, defense_state = aggregate(
                federation, updates, model, defense_state, round_
            )
            statistics = averaged_statistics(trained, verdict, statistics, federation.model)
        span.clients += client_rows(round_, malicious, verdict)
        span.aggregates.append(aggregate_row(round_, malicious, verdict))
        span.layers += layer_rows(round_, layout, verdict)
        if run.evaluates(round_):
            with timed(span.timings, round_, "evaluate", run.device):
                quality = evaluate(federation, model, statistics)
            span.metrics.append(metrics_row(round_, quality))
        if on_round is not None:
            on_round(round_)
    return Checkpoint(model, attack_state, defense_state, statistics), span
