"""The runner behind run.py. Needs Python 3.9 or later and nothing else."""
