# Grain 1, stage 4 of a round: what the global model is worth on the test data.
rule evaluate:
    input:
        unpack(federation_of),
        model=ancient(ROUND / "model.parquet"),
    output:
        metrics=ROUND / "metrics.parquet",
        timings=paths.stage_timings(RUN, "{round}", "evaluate"),
        provenance=paths.provenance(ROUND, "evaluate"),
    log:
        paths.log("evaluate", "{run}", "{round}"),
    benchmark:
        paths.benchmark("evaluate", "{run}", "{round}")
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        mem_mb=memory,
        runtime=minutes,
        gpu=GPUS,
        gpu_slots=GPUS,
    params:
        provenance=stage_provenance("evaluate"),
    script:
        "../scripts/evaluate.py"
