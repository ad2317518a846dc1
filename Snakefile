# Grids of federated-learning experiments around SkyMask.  See README.md.
import os

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/provenance.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/partition.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/attack.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/rounds.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/terminal.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        TABLES,
        FIGURES,
        OVERVIEW,
        KEPT_UPDATES,
    localrule: True


rule tables:
    input:
        TABLES,
        FIGURES,
        OVERVIEW,
    localrule: True


rule figures:
    input:
        FIGURES,
    localrule: True


onstart:
    refuse_unwritable()
    refuse_orphans()
    start_monitor()


onsuccess:
    end_monitor()
    if "SKYMASK_SUMMARY" not in os.environ and all(map(os.path.exists, TABLES)):
        print(console.summary(STUDY.name))
    print_cost()


onerror:
    end_monitor()
