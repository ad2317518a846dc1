# A study's tables, from the collected rows of its runs.
localrules:
    study_tables,


TABLES = [
    f"results/tables/{STUDY.name}/{table}.{suffix}"
    for table in ("accuracy", "detection", "runs")
    for suffix in ("csv", "md", "tex", "parquet")
]


def collected(name):
    """That file of every run of the study."""
    return [f"results/runs/{run}/{name}.parquet" for run in RUNS]


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
