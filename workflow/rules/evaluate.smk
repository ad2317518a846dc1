# Grain 1, stage 4 of a round: what the global model is worth on the test data.
rule evaluate:
    input:
        unpack(federation_of),
        model="results/runs/{run}/rounds/{round}/model.parquet",
        aggregates="results/runs/{run}/rounds/{round}/aggregates.parquet",
    output:
        metrics="results/runs/{run}/rounds/{round}/metrics.parquet",
        timings="results/runs/{run}/rounds/{round}/timings/evaluate.parquet",
    log:
        "results/logs/evaluate/{run}/{round}.log",
    benchmark:
        "results/benchmarks/evaluate/{run}/{round}.tsv"
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
            "skymask.federation.evaluate",
            "skymask.federation.records",
            methods=["attack"],
        ),
    script:
        "../scripts/evaluate.py"
