"""loglines.cfg: read, checked, and made into what each program is told; every fault found at once."""
