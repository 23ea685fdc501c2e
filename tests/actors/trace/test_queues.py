"""How mailboxes fared."""

from actors.trace.queues import percentile, queues
from tests.actors.trace.records import NOW, record


def test_a_mailbox_is_summed_up() -> None:
    records = [record(id=n, service_s=n / 1000, depth=n % 3, sent_at=NOW - n / 10) for n in range(1, 101)]
    lost = [record(kind="dropped"), record(kind="stale_timer"), record(kind="gap")]
    (queue,) = queues([*records, *lost])
    assert (queue.handled, queue.lost, queue.depth, queue.process) == (100, 1, 2, "control-0")
    assert (round(queue.oldest_s, 6), queue.service_p50_s, queue.service_p99_s) == (10.0, 0.051, 0.1)


def test_the_busiest_is_first_and_the_same_name_in_two_processes_is_two() -> None:
    found = queues(
        [record(service_s=0.1), record(service_s=0.2, process="control-1"), record(service_s=0.3, to="signal")]
    )
    assert [(one.process, one.actor[:6]) for one in found] == [
        ("control-0", "signal"),
        ("control-1", "peer/D"),
        ("control-0", "peer/D"),
    ]


def test_percentiles() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([1.0], 0.99) == 1.0
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
