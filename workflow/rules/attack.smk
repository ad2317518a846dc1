# Grain 1, stage 2 of a round: the malicious clients replace their updates.
rule attack:
    input:
        unpack(federation_of),
        updates="results/runs/{run}/rounds/{round}/honest_updates.parquet",
        model=lambda wildcards: before(wildcards, "model"),
        state=lambda wildcards: before(wildcards, "attack_state"),
    output:
        updates=temp("results/runs/{run}/rounds/{round}/updates.parquet"),
        state="results/runs/{run}/rounds/{round}/attack_state.parquet",
        timings="results/runs/{run}/rounds/{round}/timings/attack.parquet",
    log:
        "results/logs/attack/{run}/{round}.log",
    benchmark:
        "results/benchmarks/attack/{run}/{round}.tsv"
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        mem_mb=memory,
        runtime=minutes,
        gpu=GPUS,
        gpu_slots=GPUS,
    params:
        source=run_code("skymask.federation.attack", methods=["attack"]),
    script:
        "../scripts/attack.py"
