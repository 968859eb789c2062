"""The task of bench_worker.py, for RQ."""


def noop():
    pass
