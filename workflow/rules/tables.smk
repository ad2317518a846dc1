# A study's tables, from the collected rows of its runs.
rule study_tables:
    input:
        metrics=collected("metrics"),
        aggregates=collected("aggregates"),
        layers=[f"results/runs/{run}/layers.parquet" for run in MASKED],
    output:
        TABLES,
    log:
        f"results/logs/study_tables/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/study_tables/{STUDY.name}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        source=fingerprint("skymask.reporting.table_files"),
    script:
        "../scripts/tables.py"
