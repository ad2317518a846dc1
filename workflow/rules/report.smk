# The overview of a study, and the parts of the page that `snakemake --report` makes.
import hashlib

REPORT = BASE / "workflow" / "report"
STUDY_FILES = workflow.overwrite_configfiles or workflow.configfiles
PAGES = {"table": outputs.tables(STUDY), "figure": outputs.figures(STUDY)}
OVERVIEW = f"results/tables/{STUDY.name}/overview.html"


rule overview:
    input:
        tables=TABLES,
        figures=FIGURES,
        metrics=collected("metrics"),
        timings=collected("timings"),
    output:
        # what the report offers besides
        [
            report(
                f"results/report/{STUDY.name}/{kind}s/{name}.html",
                category=f"{kind}s".capitalize(),
                caption=f"../report/{name}.rst",
                labels={kind: name.replace("_", " ")},
            )
            for kind, names in PAGES.items()
            for name in names
        ],
        page=OVERVIEW,
        # what the report begins with
        part=f"results/report/{STUDY.name}/overview.html",
    log:
        f"results/logs/overview/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/overview/{STUDY.name}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        file=", ".join(map(os.path.relpath, STUDY_FILES)),
        source=fingerprint("skymask.reporting.report"),
        # the style sheet and the captions
        texts=hashlib.sha256(
            b"".join(path.read_bytes() for path in sorted(REPORT.iterdir()))
        ).hexdigest()[:12],
    script:
        "../scripts/overview.py"
