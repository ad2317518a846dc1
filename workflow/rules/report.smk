# The overview page of a study, and the parts of the report of `snakemake --report`.
import hashlib

# files that the pages are made from and that fingerprints do not cover
TEMPLATES = ROOT / "reporting" / "templates"
STUDY_FILES = internals.config_files(workflow)
PAGES = {"table": outputs.tables(STUDY), "figure": outputs.figures(STUDY)}
OVERVIEW = paths.table(STUDY.name, "overview", "html")


rule overview:
    input:
        tables=TABLES,
        figures=FIGURES,
        metrics=collected("metrics"),
        timings=collected("timings"),
    output:
        # results that the report lists
        [
            report(
                paths.report(STUDY.name) / f"{kind}s" / f"{name}.html",
                category=f"{kind}s".capitalize(),
                caption=str(TEMPLATES / f"{name}.rst"),
                labels={kind: name.replace("_", " ")},
            )
            for kind, names in PAGES.items()
            for name in names
        ],
        page=OVERVIEW,
        # the first page of the report
        part=paths.report(STUDY.name) / "overview.html",
    log:
        paths.log("overview", STUDY.name),
    benchmark:
        paths.benchmark("overview", STUDY.name)
    localrule: True
    conda:
        "../../environment.yml"
    params:
        cells=outputs.digest(STUDY),
        file=", ".join(map(os.path.relpath, STUDY_FILES)),
        source=fingerprint("skymask.reporting.report"),
        texts=hashlib.sha256(
            b"".join(path.read_bytes() for path in sorted(TEMPLATES.iterdir()))
        ).hexdigest()[:12],
    script:
        "../scripts/overview.py"
