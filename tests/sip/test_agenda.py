"""Deadlines of many, against the plain way to find the earliest."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sip.agenda import Agenda


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 20)), min_size=1, max_size=300)
)
def test_the_earliest_of_all_is_known_after_every_change(
    changes: list[tuple[int, int | None]],
) -> None:
    agenda: Agenda[int] = Agenda()
    plain: dict[int, int] = {}
    for owner, at in changes:
        agenda.set(owner, at)
        plain.pop(owner, None)
        if at is not None:
            plain[owner] = at
        assert agenda.deadline == min(plain.values(), default=None)
    taken = []
    while (owner_due := agenda.take_due(10)) is not None:
        taken.append(plain.pop(owner_due))
    assert taken == sorted(taken)
    assert all(at > 10 for at in plain.values())
    assert agenda.deadline == min(plain.values(), default=None)


def test_of_equal_deadlines_the_one_that_was_set_first_comes_first() -> None:
    agenda: Agenda[str] = Agenda()
    for owner in ("b", "a", "c"):
        agenda.set(owner, 1.0)
    assert [agenda.take_due(1.0) for _ in range(4)] == ["b", "a", "c", None]


def test_what_is_set_and_stopped_again_and_again_leaves_nothing_behind() -> None:
    """Each call arms timers that hardly ever fire; none of it may be kept until they would."""
    import tracemalloc

    agenda: Agenda[int] = Agenda()
    agenda.set(-1, 1e6)
    tracemalloc.start()
    for owner in range(5000):
        agenda.set(owner, 32.0 + owner)
        agenda.set(owner, None)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 50_000
    assert agenda.deadline == 1e6
