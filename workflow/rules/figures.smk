# The figures of a study, each as PNG and PDF.
CLIENTS = collected("clients", MASKED)
CELLS = {
    name: ancient(paths.table(STUDY.name, name, "parquet"))
    for name in ("accuracy", "detection", "mask_layers")
}
FIGURE_INPUTS = {
    "accuracy_curves": collected("metrics"),
    "heat_map": CELLS["accuracy"],
    "rates": [CELLS["accuracy"], CELLS["detection"]],
    "mask_scatter": CLIENTS,
    "mask_geometry": CLIENTS,
    "mask_layers": CELLS["mask_layers"],
    "triggered_samples": [
        ancient(paths.dataset(dataset, "test"))
        for dataset in sorted({run.dataset for run in BACKDOORED})
    ],
}


rule figure:
    input:
        lambda wildcards: FIGURE_INPUTS[wildcards.figure],
    output:
        figures=[
            paths.figure(STUDY.name, "{figure}", suffix) for suffix in ("png", "pdf")
        ],
        provenance=paths.provenance(paths.figures(STUDY.name), "{figure}"),
    log:
        paths.log("{figure}", STUDY.name),
    benchmark:
        paths.benchmark("{figure}", STUDY.name)
    wildcard_constraints:
        figure="|".join(FIGURE_INPUTS),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        provenance=lambda wildcards: figure_provenance(wildcards.figure),
    script:
        "../scripts/figure.py"
