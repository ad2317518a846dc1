# Grain 1, stage 3 of a round: the server judges the updates and moves the global model.
rule aggregate:
    input:
        unpack(federation_of),
        updates="results/runs/{run}/rounds/{round}/updates.parquet",
        statistics="results/runs/{run}/rounds/{round}/statistics.parquet",
        model=lambda wildcards: before(wildcards, "model"),
        state=lambda wildcards: before(wildcards, "defense_state"),
    output:
        model="results/runs/{run}/rounds/{round}/model.parquet",
        state="results/runs/{run}/rounds/{round}/defense_state.parquet",
        clients="results/runs/{run}/rounds/{round}/clients.parquet",
        aggregates="results/runs/{run}/rounds/{round}/aggregates.parquet",
        layers="results/runs/{run}/rounds/{round}/layers.parquet",
        timings="results/runs/{run}/rounds/{round}/timings/aggregate.parquet",
    log:
        "results/logs/aggregate/{run}/{round}.log",
    benchmark:
        "results/benchmarks/aggregate/{run}/{round}.tsv"
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        mem_mb=memory,
        runtime=minutes,
        gpu=GPUS,
        gpu_slots=GPUS,
    params:
        source=run_code(
            "skymask.federation.aggregate",
            "skymask.federation.records",
            methods=["defense"],
        ),
    script:
        "../scripts/aggregate.py"
