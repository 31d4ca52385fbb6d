"""Which worker takes a new call."""

from media.placing import Load, choose


def test_calls_share_a_worker() -> None:
    assert choose([Load(0), Load(3), Load(0)]) == 1


def test_a_worker_takes_so_many_before_another_does() -> None:
    loads = [Load(0), Load(0)]
    for _ in range(30):
        loads[choose(loads)].calls += 1
    assert [load.calls for load in loads] == [25, 5]


def test_all_full_it_is_the_one_with_the_fewest() -> None:
    loads = [Load(27), Load(26), Load(30)]
    assert choose(loads) == 1


def test_a_worker_with_half_a_core_to_do_takes_no_more() -> None:
    assert choose([Load(6, share=0.6), Load(1, share=0.1)]) == 1


def test_calls_that_came_just_now_count_before_the_worker_has_said_what_they_cost() -> None:
    assert choose([Load(12, share=0.3, fresh=11), Load(0)]) == 1
    assert choose([Load(12, share=0.3, fresh=5), Load(0)]) == 0


def test_a_worker_without_ports_takes_a_call_only_if_no_other_has_any() -> None:
    assert choose([Load(3, has_ports=False), Load(0)]) == 1
    assert choose([Load(3, has_ports=False), Load(27)]) == 1
    assert choose([Load(3, has_ports=False), Load(2, has_ports=False)]) == 1
