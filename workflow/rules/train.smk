# Grain 1, stage 1 of a round: every client trains from the global model.
rule initialise:
    input:
        unpack(federation_of),
    output:
        model=paths.round_(RUN, 0) / "model.parquet",
        attack_state=paths.round_(RUN, 0) / "attack_state.parquet",
        defense_state=paths.round_(RUN, 0) / "defense_state.parquet",
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
        source=fingerprint("skymask.federation.federation"),
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
        source=run_code("skymask.federation.train", methods=["attack"]),
    script:
        "../scripts/train.py"
