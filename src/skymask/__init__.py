"""Robust federated learning experiments around SkyMask (ECCV 2024, arXiv 2312.12484).

The package holds pure functions on tensors; the Snakemake workflow beside it calls them and
keeps every result in Parquet.  Importing ``skymask`` alone is cheap: torch is loaded by the
modules that need it.
"""

__version__ = "0.1.0"
