"""A round of federated learning as four pure stages, and the loop that carries many in memory.

``train`` → ``attack`` → ``aggregate`` → ``evaluate``, a module each, so that a change in one stage
does not make the results of the others stale.
"""
