"""What may be said of a task besides its type and payload, for editors and type checkers: the fields of TaskSpec.

Threads: values.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from zsched.types import Delivery, Durability, Duration, TaskSpec


class TaskOptions(TypedDict, total=False):
    """Keyword arguments of submit; types.TaskSpec explains each."""

    json: Any
    queue: str
    content_type: str | None
    priority: int
    delay: Duration | None
    run_at: datetime | None
    max_attempts: int | None
    timeout: Duration | None
    retry_base: Duration | None
    retry_cap: Duration | None
    key: str | None
    labels: Mapping[str, str] | None
    concurrency_key: str | None
    fairness_key: str | None
    correlation_id: str | None
    traceparent: str | None
    delivery: Delivery
    durability: Durability
    start_within: Duration | None
    start_by: datetime | None
    on_success: Sequence[TaskSpec]
    on_failure: Sequence[TaskSpec]
    on_complete: Sequence[TaskSpec]
    pass_result: bool


def spec_of(type_: str | TaskSpec, payload: bytes | str, options: TaskOptions) -> TaskSpec:
    """The task that the arguments of a submit mean."""
    if isinstance(type_, TaskSpec):
        if payload or options:
            raise TypeError("submit takes a TaskSpec, or a type with a payload and options, not both")
        return type_
    return TaskSpec(type_, payload, **options)
