# A study's tables, from the collected rows of its runs.
rule study_tables:
    input:
        metrics=collected("metrics"),
        aggregates=collected("aggregates"),
        layers=collected("layers", LAYERED),
    output:
        TABLES,
        provenance=paths.provenance(paths.tables(STUDY.name), "study_tables"),
    log:
        paths.log("study_tables", STUDY.name),
    benchmark:
        paths.benchmark("study_tables", STUDY.name)
    localrule: True
    conda:
        "../../environment.yml"
    params:
        provenance=lambda _: tables_provenance(),
    script:
        "../scripts/tables.py"
