# Grain 1, stage 2 of a round: the malicious clients replace their updates.
rule attack:
    input:
        unpack(federation_of),
        updates=ancient(ROUND / "honest_updates.parquet"),
        model=lambda wildcards: before(wildcards, "model"),
        state=lambda wildcards: before(wildcards, "attack_state"),
    output:
        updates=temp(ROUND / "updates.parquet"),
        state=ROUND / "attack_state.parquet",
        timings=paths.stage_timings(RUN, "{round}", "attack"),
        provenance=paths.provenance(ROUND, "attack"),
    log:
        paths.log("attack", "{run}", "{round}"),
    benchmark:
        paths.benchmark("attack", "{run}", "{round}")
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        mem_mb=memory,
        runtime=minutes,
        gpu=GPUS,
        gpu_slots=GPUS,
    params:
        provenance=stage_provenance("attack"),
    script:
        "../scripts/attack.py"
