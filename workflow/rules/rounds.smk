# Runs: what determines them, their spans of rounds (grain K > 1), and its collected rows.
rule experiments:
    output:
        # in one job: a process for each of hundreds of small files would take minutes
        runs=[paths.run(run) / "experiment.json" for run in RUNS],
        provenance=paths.provenance(paths.tables(STUDY.name), "experiments"),
    log:
        paths.log("experiments", STUDY.name),
    benchmark:
        paths.benchmark("experiments", STUDY.name)
    localrule: True
    conda:
        "../../environment.yml"
    params:
        provenance=lambda _: STAGES.of_study("experiments", []),
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
        provenance=paths.provenance(SPAN, "span"),
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
        provenance=span_provenance,
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
        provenance=paths.provenance(RUN, "collect"),
    log:
        paths.log("collect", "{run}"),
    benchmark:
        paths.benchmark("collect", "{run}")
    localrule: True
    conda:
        "../../environment.yml"
    params:
        provenance=lambda wildcards: collected_provenance(wildcards.run),
    script:
        "../scripts/collect.py"


rule collect_updates:
    input:
        kept_pieces,
    output:
        RUN / "updates.parquet",
        provenance=paths.provenance(RUN, "collect_updates"),
    log:
        paths.log("collect_updates", "{run}"),
    benchmark:
        paths.benchmark("collect_updates", "{run}")
    localrule: True
    conda:
        "../../environment.yml"
    params:
        provenance=collected_updates_provenance,
    script:
        "../scripts/collect_updates.py"
