# A study's figures, each as PNG and PDF.
localrules:
    accuracy_curves,
    mask_scatter,


rule accuracy_curves:
    input:
        metrics=collected("metrics"),
    output:
        multiext(f"results/figures/{STUDY.name}/accuracy_curves", ".png", ".pdf"),
    log:
        f"results/logs/accuracy_curves/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/accuracy_curves/{STUDY.name}.tsv"
    conda:
        "../../environment.yml"
    params:
        cells=plan.digest(STUDY),
        source=source.fingerprint("skymask.figures"),
    script:
        "../scripts/accuracy_curves.py"


rule mask_scatter:
    input:
        clients=[f"results/runs/{run}/clients.parquet" for run in MASKED],
    output:
        multiext(f"results/figures/{STUDY.name}/mask_scatter", ".png", ".pdf"),
    log:
        f"results/logs/mask_scatter/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/mask_scatter/{STUDY.name}.tsv"
    conda:
        "../../environment.yml"
    params:
        cells=plan.digest(STUDY),
        source=source.fingerprint("skymask.figures"),
    script:
        "../scripts/mask_scatter.py"
