# Who holds which training sample; shared by all runs that split alike.
rule partition:
    input:
        train=lambda wildcards: ancient(
            paths.dataset(PARTITIONS[wildcards.partition].dataset, "train")
        ),
    output:
        paths.partition("{partition}"),
        provenance=paths.provenance(paths.partition("").parent, "{partition}"),
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
        provenance=lambda wildcards: STAGES.partition(PARTITIONS[wildcards.partition]),
    script:
        "../scripts/partition.py"
