"""Queues, commits and workers: the core of the program. It knows Redis, and knows no stage."""

from aggregator.runtime.leanredis import load

load()  # before anything else loads redis-py
