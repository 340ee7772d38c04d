"""Read and check loglines.cfg, report every fault at once, and derive what each program is told."""
