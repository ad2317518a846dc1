# A study's tables, from the collected rows of its runs.
localrules:
    study_tables,


rule study_tables:
    input:
        metrics=collected("metrics"),
        clients=collected("clients"),
    output:
        TABLES,
    log:
        f"results/logs/study_tables/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/study_tables/{STUDY.name}.tsv"
    conda:
        "../../environment.yml"
    params:
        cells=plan.digest(STUDY),
        source=source.fingerprint("skymask.tables"),
    script:
        "../scripts/tables.py"
