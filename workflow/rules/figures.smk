# A study's figures, each as PNG and PDF.
rule accuracy_curves:
    input:
        metrics=collected("metrics"),
    output:
        multiext(f"results/figures/{STUDY.name}/accuracy_curves", ".png", ".pdf"),
    log:
        f"results/logs/accuracy_curves/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/accuracy_curves/{STUDY.name}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        source=fingerprint("skymask.reporting.figures.curves"),
    script:
        "../scripts/accuracy_curves.py"


rule heat_map:
    input:
        metrics=collected("metrics"),
        aggregates=collected("aggregates"),
    output:
        multiext(f"results/figures/{STUDY.name}/heat_map", ".png", ".pdf"),
    log:
        f"results/logs/heat_map/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/heat_map/{STUDY.name}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        source=fingerprint("skymask.reporting.figures.heat_map"),
    script:
        "../scripts/heat_map.py"


rule rates:
    input:
        metrics=collected("metrics"),
        aggregates=collected("aggregates"),
    output:
        multiext(f"results/figures/{STUDY.name}/rates", ".png", ".pdf"),
    log:
        f"results/logs/rates/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/rates/{STUDY.name}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        source=fingerprint("skymask.reporting.figures.rates"),
    script:
        "../scripts/rates.py"


rule mask_scatter:
    input:
        clients=[f"results/runs/{run}/clients.parquet" for run in MASKED],
    output:
        multiext(f"results/figures/{STUDY.name}/mask_scatter", ".png", ".pdf"),
    log:
        f"results/logs/mask_scatter/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/mask_scatter/{STUDY.name}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        source=fingerprint("skymask.reporting.figures.masks"),
    script:
        "../scripts/mask_scatter.py"


rule mask_geometry:
    input:
        clients=[f"results/runs/{run}/clients.parquet" for run in MASKED],
    output:
        multiext(f"results/figures/{STUDY.name}/mask_geometry", ".png", ".pdf"),
    log:
        f"results/logs/mask_geometry/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/mask_geometry/{STUDY.name}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        source=fingerprint("skymask.reporting.figures.masks"),
    script:
        "../scripts/mask_geometry.py"


rule mask_layers:
    input:
        layers=[f"results/runs/{run}/layers.parquet" for run in MASKED],
    output:
        multiext(f"results/figures/{STUDY.name}/mask_layers", ".png", ".pdf"),
    log:
        f"results/logs/mask_layers/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/mask_layers/{STUDY.name}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        source=fingerprint("skymask.reporting.figures.masks"),
    script:
        "../scripts/mask_layers.py"


rule triggered_samples:
    input:
        test=sorted({f"results/data/{run.dataset}/test.parquet" for run in BACKDOORED}),
    output:
        multiext(f"results/figures/{STUDY.name}/triggered_samples", ".png", ".pdf"),
    log:
        f"results/logs/triggered_samples/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/triggered_samples/{STUDY.name}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        source=fingerprint(
            "skymask.reporting.figures.triggers",
            *{name for run in BACKDOORED for name in modules_of("attack", run.attack)},
        ),
    script:
        "../scripts/triggered_samples.py"
