"""First import of every script of the workflow, which takes its interrupts."""

from skymask.jobs import interrupts

interrupts.end_silently()
