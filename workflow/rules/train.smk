# Grain 1, stage 1 of a round: every client trains from the global model.
rule initialise:
    input:
        unpack(federation_of),
    output:
        model="results/runs/{run}/rounds/0/model.parquet",
        attack_state="results/runs/{run}/rounds/0/attack_state.parquet",
        defense_state="results/runs/{run}/rounds/0/defense_state.parquet",
    log:
        "results/logs/initialise/{run}.log",
    benchmark:
        "results/benchmarks/initialise/{run}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        source=fingerprint("skymask.federation.federation"),
    script:
        "../scripts/initialise.py"


rule train:
    input:
        unpack(federation_of),
        model=lambda wildcards: before(wildcards, "model"),
    output:
        updates=temp("results/runs/{run}/rounds/{round}/honest_updates.parquet"),
        statistics=temp("results/runs/{run}/rounds/{round}/statistics.parquet"),
        timings="results/runs/{run}/rounds/{round}/timings/train.parquet",
    log:
        "results/logs/train/{run}/{round}.log",
    benchmark:
        "results/benchmarks/train/{run}/{round}.tsv"
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        mem_mb=memory,
        runtime=minutes,
        gpu=GPUS,
        gpu_slots=GPUS,
    params:
        source=run_code("skymask.federation.train", methods=["attack"]),
    script:
        "../scripts/train.py"
