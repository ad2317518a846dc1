# A run: what determines it, its spans of rounds (grain K > 1), and its collected rows.
localrules:
    experiment,
    collect,
    collect_updates,


rule experiment:
    output:
        "results/runs/{run}/experiment.json",
    log:
        "results/logs/experiment/{run}.log",
    benchmark:
        "results/benchmarks/experiment/{run}.tsv"
    conda:
        "../../environment.yml"
    params:
        text=lambda wildcards: experiment(wildcards).to_json(),
    script:
        "../scripts/experiment.py"


def progress_before(wildcards):
    """The files a span goes on from; none for the first."""
    span = plan.previous_span(int(wildcards.first), SPANS[wildcards.run])
    if span is None:
        return {}
    folder = f"results/runs/{wildcards.run}/spans/{span[0]}-{span[1]}"
    return {name: f"{folder}/{name}.parquet" for name in ("model", "attack_state", "defense_state")}


rule span:
    input:
        unpack(federation_of),
        unpack(progress_before),
    output:
        model="results/runs/{run}/spans/{first}-{last}/model.parquet",
        attack_state="results/runs/{run}/spans/{first}-{last}/attack_state.parquet",
        defense_state="results/runs/{run}/spans/{first}-{last}/defense_state.parquet",
        clients="results/runs/{run}/spans/{first}-{last}/clients.parquet",
        metrics="results/runs/{run}/spans/{first}-{last}/metrics.parquet",
        timings="results/runs/{run}/spans/{first}-{last}/timings.parquet",
        updates="results/runs/{run}/spans/{first}-{last}/updates.parquet",
    log:
        "results/logs/span/{run}/{first}-{last}.log",
    benchmark:
        "results/benchmarks/span/{run}/{first}-{last}.tsv"
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        gpu=GPUS,
    params:
        source=fingerprint("skymask.rounds.loop", methods=["attack", "defense"]),
        keep_updates=lambda wildcards: sorted(
            r
            for r in STUDY.keep_updates
            if int(wildcards.first) <= r <= int(wildcards.last)
        ),
    script:
        "../scripts/span.py"


rule collect:
    input:
        metrics=lambda wildcards: pieces(wildcards, "metrics"),
        clients=lambda wildcards: pieces(wildcards, "clients"),
        timings=lambda wildcards: pieces(wildcards, "timings"),
    output:
        metrics="results/runs/{run}/metrics.parquet",
        clients="results/runs/{run}/clients.parquet",
        timings="results/runs/{run}/timings.parquet",
    log:
        "results/logs/collect/{run}.log",
    benchmark:
        "results/benchmarks/collect/{run}.tsv"
    conda:
        "../../environment.yml"
    script:
        "../scripts/collect.py"


def kept_pieces(wildcards):
    """The files that hold the kept updates of a run."""
    run, rounds = wildcards.run, RUNS[wildcards.run].rounds
    kept = sorted(r for r in STUDY.keep_updates if r <= rounds)
    if STAGED:
        return [f"results/runs/{run}/rounds/{r}/updates.parquet" for r in kept]
    holders = [s for s in SPANS[run] if any(s[0] <= r <= s[1] for r in kept)]
    return [f"results/runs/{run}/spans/{a}-{b}/updates.parquet" for a, b in holders]


rule collect_updates:
    input:
        kept_pieces,
    output:
        "results/runs/{run}/updates.parquet",
    log:
        "results/logs/collect_updates/{run}.log",
    benchmark:
        "results/benchmarks/collect_updates/{run}.tsv"
    conda:
        "../../environment.yml"
    script:
        "../scripts/collect_updates.py"


KEPT_UPDATES = (
    [
        f"results/runs/{run}/updates.parquet"
        for run, cell in RUNS.items()
        if min(STUDY.keep_updates) <= cell.rounds
    ]
    if STUDY.keep_updates
    else []
)
