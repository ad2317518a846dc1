# Runs: what determines them, their spans of rounds (grain K > 1), and its collected rows.
rule experiments:
    output:
        # in one job: a process for each of hundreds of small files would take minutes
        [paths.run(run) / "experiment.json" for run in RUNS],
    log:
        paths.log("experiments", STUDY.name),
    benchmark:
        paths.benchmark("experiments", STUDY.name)
    localrule: True
    conda:
        "../../environment.yml"
    script:
        "../scripts/experiments.py"


rule span:
    input:
        unpack(federation_of),
        unpack(checkpoint_before),
    output:
        model=SPAN / "model.parquet",
        attack_state=SPAN / "attack_state.parquet",
        defense_state=SPAN / "defense_state.parquet",
        clients=SPAN / "clients.parquet",
        aggregates=SPAN / "aggregates.parquet",
        layers=SPAN / "layers.parquet",
        metrics=SPAN / "metrics.parquet",
        timings=SPAN / "timings.parquet",
        updates=SPAN / "updates.parquet",
    log:
        paths.log("span", "{run}", "{first}-{last}"),
    benchmark:
        paths.benchmark("span", "{run}", "{first}-{last}")
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
        metrics=RUN / "metrics.parquet",
        clients=RUN / "clients.parquet",
        aggregates=RUN / "aggregates.parquet",
        layers=RUN / "layers.parquet",
        timings=RUN / "timings.parquet",
    log:
        paths.log("collect", "{run}"),
    benchmark:
        paths.benchmark("collect", "{run}")
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
        RUN / "updates.parquet",
    log:
        paths.log("collect_updates", "{run}"),
    benchmark:
        paths.benchmark("collect_updates", "{run}")
    localrule: True
    conda:
        "../../environment.yml"
    script:
        "../scripts/collect_updates.py"
