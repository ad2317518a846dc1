# Grain 1, stage 3 of a round: the server judges the updates and moves the global model.
rule aggregate:
    input:
        unpack(federation_of),
        updates=ancient(ROUND / "updates.parquet"),
        statistics=ancient(ROUND / "statistics.parquet"),
        model=lambda wildcards: before(wildcards, "model"),
        state=lambda wildcards: before(wildcards, "defense_state"),
    output:
        model=ROUND / "model.parquet",
        state=ROUND / "defense_state.parquet",
        clients=ROUND / "clients.parquet",
        aggregates=ROUND / "aggregates.parquet",
        layers=ROUND / "layers.parquet",
        timings=paths.stage_timings(RUN, "{round}", "aggregate"),
        provenance=paths.provenance(ROUND, "aggregate"),
    log:
        paths.log("aggregate", "{run}", "{round}"),
    benchmark:
        paths.benchmark("aggregate", "{run}", "{round}")
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        mem_mb=memory,
        runtime=minutes,
        gpu=GPUS,
        gpu_slots=GPUS,
    params:
        provenance=stage_provenance("aggregate"),
    script:
        "../scripts/aggregate.py"
