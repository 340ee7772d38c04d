"""Dramatiq with its default middleware and threads, and many messages taken ahead; it acknowledges after the job."""

import os
import time

os.environ["dramatiq_queue_prefetch"] = "1000"  # noqa: SIM112 - its name; read when it is imported

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.libraries import job

url, total = job.arguments()
broker = RedisBroker(url=url)
dramatiq.set_broker(broker)
noop = dramatiq.actor(job.noop)
job.enqueue("dramatiq", total, lambda: noop.send(**job.body_of()), lambda: broker.do_qsize(noop.queue_name))
dramatiq.Worker(broker, worker_threads=8).start()
while True:
    time.sleep(1)
