"""Arguments and results as pickles, for those who need more than JSON and trust everybody who can submit a task.

    app = zsched.App(serializer=zsched.pickling.PickleSerializer())

WARNING: whoever can submit a task to a queue that such a worker serves can run any code in it, and whoever runs a worker can
run any code in the clients that read its results. That is how pickle works. Use it only where all of them are yours.

Threads: any.
"""
from __future__ import annotations

import pickle
from typing import Any


class PickleSerializer:
    """Anything that pickle takes. See the warning above."""

    content_type = "application/x-python-pickle"

    def dumps(self, value: Any) -> bytes:
        """Raises what pickle raises for what it cannot take."""
        return pickle.dumps(value, protocol=5)

    def loads(self, data: bytes) -> Any:
        """ValueError for what is no pickle, or of classes that are not here."""
        try:
            return pickle.loads(data)
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
