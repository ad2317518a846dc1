"""A study's figures, each drawn from cached artifacts alone and saved as PNG and PDF.

One style (``style``) for all: ``curves``, ``heat_map``, ``rates``, ``masks`` and ``triggers``.
"""
