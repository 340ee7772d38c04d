"""The heart: queues, the ledger and the worker's loop. It knows Redis, and no stage."""
