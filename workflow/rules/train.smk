# Grain 1, stage 1 of a round: every client trains from the global model.
rule initialise:
    input:
        unpack(federation_of),
    output:
        model=paths.round_(RUN, 0) / "model.parquet",
        attack_state=paths.round_(RUN, 0) / "attack_state.parquet",
        defense_state=paths.round_(RUN, 0) / "defense_state.parquet",
        provenance=paths.provenance(paths.round_(RUN, 0), "initialise"),
    log:
        paths.log("initialise", "{run}"),
    benchmark:
        paths.benchmark("initialise", "{run}")
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        provenance=stage_provenance("initialise"),
    script:
        "../scripts/initialise.py"


rule train:
    input:
        unpack(federation_of),
        model=lambda wildcards: before(wildcards, "model"),
    output:
        updates=temp(ROUND / "honest_updates.parquet"),
        statistics=temp(ROUND / "statistics.parquet"),
        timings=paths.stage_timings(RUN, "{round}", "train"),
        provenance=paths.provenance(ROUND, "train"),
    log:
        paths.log("train", "{run}", "{round}"),
    benchmark:
        paths.benchmark("train", "{run}", "{round}")
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        mem_mb=memory,
        runtime=minutes,
        gpu=GPUS,
        gpu_slots=GPUS,
    params:
        provenance=stage_provenance("train"),
    script:
        "../scripts/train.py"
