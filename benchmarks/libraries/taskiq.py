"""taskiq on Redis streams, which it acknowledges after the job."""

import asyncio
import time

import redis
from taskiq.acks import AcknowledgeType
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from benchmarks.libraries import job

url, total = job.arguments()
broker = RedisStreamBroker(url, consumer_id="0")


@broker.task
async def noop(service: str, logline: str) -> None:
    """Do nothing."""
    job.noop(service, logline)


async def main() -> None:
    """Push all jobs, then drain them."""
    await broker.startup()
    began = time.perf_counter()
    for _ in range(total):
        await noop.kiq(**job.body_of())
    watching = redis.Redis.from_url(url)
    job.expect("taskiq", total, time.perf_counter() - began, lambda: watching.xpending("taskiq", "taskiq")["pending"])
    await run_receiver_task(broker, max_prefetch=100, ack_time=AcknowledgeType.WHEN_EXECUTED)


asyncio.run(main())
