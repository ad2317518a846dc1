# The figures of a study, each as PNG and PDF.
CLIENTS = [paths.run(run) / "clients.parquet" for run in MASKED]
CELLS = {
    name: paths.table(STUDY.name, name, "parquet")
    for name in ("accuracy", "detection", "mask_layers")
}
FIGURE_INPUTS = {
    "accuracy_curves": collected("metrics"),
    "heat_map": CELLS["accuracy"],
    "rates": [CELLS["accuracy"], CELLS["detection"]],
    "mask_scatter": CLIENTS,
    "mask_geometry": CLIENTS,
    "mask_layers": CELLS["mask_layers"],
    "triggered_samples": sorted(
        {paths.dataset(run.dataset, "test") for run in BACKDOORED}
    ),
}


rule figure:
    input:
        lambda wildcards: FIGURE_INPUTS[wildcards.figure],
    output:
        [paths.figure(STUDY.name, "{figure}", suffix) for suffix in ("png", "pdf")],
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
        cells=outputs.digest(STUDY),
        source=figure_code,
    script:
        "../scripts/figure.py"
