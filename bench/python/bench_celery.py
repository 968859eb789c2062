"""The task of bench_worker.py, for Celery; Redis is at $BENCH_REDIS."""
import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_REDIS"] + "0", backend=os.environ["BENCH_REDIS"] + "1")


@app.task
def noop():
    pass
