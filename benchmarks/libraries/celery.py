"""Celery, one process (pool solo), acknowledging late."""

from celery import Celery

from benchmarks.libraries import job

url, total = job.arguments()
app = Celery("bench", broker=url.replace("unix://", "redis+socket://"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=100,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)
noop = app.task(name="noop")(job.noop)
job.enqueue("celery", total, lambda: noop.delay(**job.body_of()))
worker = app.Worker(pool="solo", loglevel="ERROR", without_gossip=True, without_mingle=True, without_heartbeat=True)
worker.start()
