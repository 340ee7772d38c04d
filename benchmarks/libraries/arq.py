"""arq, many jobs at a time and no results kept; a job is acknowledged after it ran."""

import asyncio
import logging
import time
from typing import Any

import redis
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

from benchmarks.libraries import job

url, total = job.arguments()
settings = RedisSettings(unix_socket_path=url.removeprefix("unix://"))


async def noop(ctx: dict[str, Any], **body: str) -> None:
    """Do nothing."""
    job.noop(**body)


async def enqueue() -> None:
    """Push all jobs."""
    pool = await create_pool(settings)
    began = time.perf_counter()
    for _ in range(total):
        await pool.enqueue_job("noop", **job.body_of())
    watching = redis.Redis.from_url(url)
    job.expect("arq", total, time.perf_counter() - began, lambda: watching.zcard(pool.default_queue_name))
    await pool.aclose()


logging.getLogger("arq").setLevel(logging.ERROR)
asyncio.set_event_loop(asyncio.new_event_loop())
asyncio.get_event_loop().run_until_complete(enqueue())
Worker(
    [func(noop, name="noop", keep_result=0)], redis_settings=settings, max_jobs=100, poll_delay=0.01, log_results=False
).run()
