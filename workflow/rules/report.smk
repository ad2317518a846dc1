# The overview page of a study, and the parts of the report of `snakemake --report`.
PAGES = {"table": outputs.tables(STUDY), "figure": outputs.figures(STUDY)}
OVERVIEW = paths.table(STUDY.name, "overview", "html")


rule overview:
    input:
        tables=ancient(TABLES),
        figures=ancient(FIGURES),
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
        provenance=paths.provenance(paths.report(STUDY.name), "overview"),
    log:
        paths.log("overview", STUDY.name),
    benchmark:
        paths.benchmark("overview", STUDY.name)
    localrule: True
    conda:
        "../../environment.yml"
    params:
        provenance=lambda _: overview_provenance(),
        file=STUDY_FILES,
    script:
        "../scripts/overview.py"
