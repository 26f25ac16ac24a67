"""Ticks of one stage, of its parts, and of items."""

from netsurgeon.pipeline.progress import part_of, ticking


def test_every_item_is_told_of_before_it_is_used() -> None:
    events: list[object] = []
    for item in ticking("ab", lambda done, count: events.append((done, count)), 2):
        events.append(item)
    assert events == [(0, 2), "a", (1, 2), "b"]


def test_parts_are_counted_through() -> None:
    told: list[tuple[int, int]] = []
    for number in range(2):
        ticks = part_of(lambda done, count: told.append((done, count)), number, 2)
        for done in range(3):
            ticks(done, 3)
    assert told == [(at, 6) for at in range(6)]
