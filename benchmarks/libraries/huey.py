"""Huey, one worker thread. It has no acknowledgement: a job that a killed worker held is lost."""

import logging

from huey import RedisHuey

from benchmarks.libraries import job

url, total = job.arguments()
huey = RedisHuey("bench", url=url, results=False)
noop = huey.task()(job.noop)
job.enqueue("huey", total, lambda: noop(**job.body_of()))
logging.getLogger("huey").setLevel(logging.ERROR)
huey.create_consumer(workers=1, periodic=False).run()
