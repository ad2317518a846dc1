# Stage 0: a data set, from wherever it is, as Parquet.


rule data:
    output:
        train=paths.dataset("{dataset}", "train"),
        test=paths.dataset("{dataset}", "test"),
        provenance=paths.provenance(paths.dataset("{dataset}", "train").parent, "data"),
    log:
        paths.log("data", "{dataset}"),
    benchmark:
        paths.benchmark("data", "{dataset}")
    # where Snakemake runs, also with SLURM: other hosts of a cluster often have no network
    localrule: True
    conda:
        "../../environment.yml"
    params:
        provenance=lambda wildcards: STAGES.data(wildcards.dataset),
    # where the data lay is not part of what it is
    script:
        "../scripts/data.py"
