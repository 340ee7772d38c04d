"""RQ with its SimpleWorker, which does not fork for each job."""

import logging

import redis
from rq import Queue, SimpleWorker

from benchmarks.libraries import job

url, total = job.arguments()
connection = redis.Redis.from_url(url)
queue = Queue("bench", connection=connection)
job.enqueue("rq", total, lambda: queue.enqueue(job.noop, **job.body_of(), result_ttl=0))
logging.getLogger("rq").setLevel(logging.ERROR)
SimpleWorker([queue], connection=connection).work(burst=True, logging_level="ERROR")
