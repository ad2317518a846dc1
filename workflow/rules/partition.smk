# Who holds which training sample; shared by all runs that split alike.
rule partition:
    input:
        train=lambda wildcards: paths.dataset(
            PARTITIONS[wildcards.partition].dataset, "train"
        ),
    output:
        paths.partition("{partition}"),
    log:
        paths.log("partition", "{partition}"),
    benchmark:
        paths.benchmark("partition", "{partition}")
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
