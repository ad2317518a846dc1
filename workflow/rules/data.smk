# Stage 0: a data set, from wherever it is, as Parquet.
DATA_MODULES = {
    name: e.module for name, e in registry("skymask.data.datasets", "DATASETS").items()
}


rule data:
    output:
        train=paths.dataset("{dataset}", "train"),
        test=paths.dataset("{dataset}", "test"),
    log:
        paths.log("data", "{dataset}"),
    benchmark:
        paths.benchmark("data", "{dataset}")
    # where Snakemake runs, also with SLURM: other hosts of a cluster often have no network
    localrule: True
    conda:
        "../../environment.yml"
    params:
        source=lambda wildcards: fingerprint(
            DATA_MODULES[wildcards.dataset], "skymask.artifacts.samples"
        ),
    # where the data lay is not part of what it is
    script:
        "../scripts/data.py"
