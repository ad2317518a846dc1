# Runs: what determines them, their spans of rounds (grain K > 1), and its collected rows.
rule experiments:
    output:
        # in one job: a process for each of hundreds of small files would take minutes
        [f"results/runs/{run}/experiment.json" for run in RUNS],
    log:
        f"results/logs/experiments/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/experiments/{STUDY.name}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    script:
        "../scripts/experiments.py"


rule span:
    input:
        unpack(federation_of),
        unpack(progress_before),
    output:
        model="results/runs/{run}/spans/{first}-{last}/model.parquet",
        attack_state="results/runs/{run}/spans/{first}-{last}/attack_state.parquet",
        defense_state="results/runs/{run}/spans/{first}-{last}/defense_state.parquet",
        clients="results/runs/{run}/spans/{first}-{last}/clients.parquet",
        aggregates="results/runs/{run}/spans/{first}-{last}/aggregates.parquet",
        layers="results/runs/{run}/spans/{first}-{last}/layers.parquet",
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
        mem_mb=memory,
        runtime=minutes,
        gpu=GPUS,
        gpu_slots=GPUS,
    params:
        source=run_code("skymask.federation.rounds", methods=["attack", "defense"]),
        keep_updates=lambda wildcards: kept(int(wildcards.first), int(wildcards.last)),
    script:
        "../scripts/span.py"


rule collect:
    input:
        metrics=lambda wildcards: pieces(wildcards, "metrics"),
        clients=lambda wildcards: pieces(wildcards, "clients"),
        aggregates=lambda wildcards: pieces(wildcards, "aggregates"),
        layers=lambda wildcards: pieces(wildcards, "layers"),
        timings=lambda wildcards: pieces(wildcards, "timings"),
    output:
        metrics="results/runs/{run}/metrics.parquet",
        clients="results/runs/{run}/clients.parquet",
        aggregates="results/runs/{run}/aggregates.parquet",
        layers="results/runs/{run}/layers.parquet",
        timings="results/runs/{run}/timings.parquet",
    log:
        "results/logs/collect/{run}.log",
    benchmark:
        "results/benchmarks/collect/{run}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        source=fingerprint("skymask.artifacts.records"),
    script:
        "../scripts/collect.py"


rule collect_updates:
    input:
        kept_pieces,
    output:
        "results/runs/{run}/updates.parquet",
    log:
        "results/logs/collect_updates/{run}.log",
    benchmark:
        "results/benchmarks/collect_updates/{run}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    script:
        "../scripts/collect_updates.py"
