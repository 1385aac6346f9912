"""What other programs need in order to run a study's workers: Slurm, Kubernetes, SkyPilot."""
