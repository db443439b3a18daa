"""Django's task framework with this queue behind it."""

from __future__ import annotations

import pytest

from django_async.tasks import testing
from suite import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_task_is_run() -> None:
    result = tasks.add.enqueue(1, two=2)
    assert result.status == "READY"
    assert result == tasks.add.get_result(result.id)
    [done] = testing.run_tasks()
    assert done.return_value == 3
    result = tasks.fail.enqueue()
    [done] = testing.run_tasks()
    print(done)
    assert done.status == "FAILED"
    result = tasks.see.enqueue()
    [done] = testing.run_tasks()
    print(done)
    result = tasks.thrice.enqueue()
    print(testing.run_tasks())
    print(testing.run_tasks())
    print(testing.run_tasks())
    result = tasks.asks_twice.enqueue()
    print(testing.run_tasks())
    print(testing.run_tasks())
    print(testing.run_tasks())
