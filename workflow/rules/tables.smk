# A study's tables, from the collected rows of its runs.
rule study_tables:
    input:
        metrics=collected("metrics"),
        aggregates=collected("aggregates"),
        layers=[paths.run(run) / "layers.parquet" for run in MASKED],
    output:
        TABLES,
    log:
        paths.log("study_tables", STUDY.name),
    benchmark:
        paths.benchmark("study_tables", STUDY.name)
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        source=fingerprint("skymask.reporting.table_files"),
    script:
        "../scripts/tables.py"
