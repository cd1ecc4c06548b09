"""Blocks as Prefect tasks: shown, repeated and cancelled in its UI."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from isophase.flows.blocks import AT_ONCE, Blocks, RunBlocks, worth_repeating

RETRIES = 1
RUNNER: Any = ThreadPoolTaskRunner(max_workers=AT_ONCE)


def as_tasks(name: str) -> RunBlocks:
    """Run blocks as Prefect tasks named ``NAME-LABEL``, from within a flow."""

    def run(blocks: Blocks) -> None:
        @task(
            name=name,
            task_run_name=f"{name}-{{label}}",
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=RETRIES,
            retry_condition_fn=_worth_repeating,
        )
        def run_block(number: int, label: str) -> Any:
            context = TaskRunContext.get()
            last = context is None or context.task_run.run_count > RETRIES
            done = blocks.run(number, last)
            return None if done else Cancelled(message="given up, as another block failed")

        futures = [run_block.submit(number, label) for number, label in enumerate(blocks.labels)]
        for future in futures:
            future.wait()
        if blocks.error is not None:
            raise blocks.error

    return run


def _worth_repeating(_task: Any, _run: Any, state: Any) -> bool:
    return worth_repeating(state.result(raise_on_failure=False))
