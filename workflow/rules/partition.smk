# Who holds which training sample; shared by all runs that split alike.
rule partition:
    input:
        train=lambda wildcards: f"results/data/{PARTITIONS[wildcards.partition].dataset}/train.parquet",
    output:
        "results/partitions/{partition}.parquet",
    log:
        "results/logs/partition/{partition}.log",
    benchmark:
        "results/benchmarks/partition/{partition}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=lambda wildcards, attempt: resources.memory_of_data(
            PARTITIONS[wildcards.partition].dataset, attempt
        ),
        runtime=resources.START,
    params:
        spec=lambda wildcards: PARTITIONS[wildcards.partition].partition_spec,
        source=fingerprint("skymask.data.partition"),
    script:
        "../scripts/partition.py"
