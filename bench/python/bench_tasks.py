"""The tasks of bench_worker.py, for zsched."""
import zsched

zsched_app = zsched.App()


@zsched_app.task
def noop():
    pass


@zsched_app.task
async def noop_async():
    pass
