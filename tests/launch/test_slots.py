"""Which rank a task becomes: Horovod's rules, for any spread of the tasks over hosts."""

import pytest
from dermaspark.errors import UserError
from dermaspark.launch.slots import Place, assign_ranks
from hypothesis import given
from hypothesis import strategies as st

HOSTS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=24)


def ranks(hosts: list[str]) -> list[dict[str, str]]:
    return assign_ranks([Place(host, "10.0.0.1", 4321) for host in hosts])


@given(HOSTS)
def test_every_rank_is_given_once_and_task_0_is_rank_0(hosts):
    numbers = [int(slot["HOROVOD_RANK"]) for slot in ranks(hosts)]
    assert sorted(numbers) == list(range(len(hosts)))
    assert numbers[0] == 0


@given(HOSTS)
def test_ranks_of_a_host_are_neighbours_counted_from_0(hosts):
    slots = ranks(hosts)
    for host in set(hosts):
        here = [slot for slot, at in zip(slots, hosts, strict=True) if at == host]
        local = [int(slot["HOROVOD_LOCAL_RANK"]) for slot in here]
        numbers = [int(slot["HOROVOD_RANK"]) for slot in here]
        assert local == list(range(len(here)))
        assert numbers == list(range(numbers[0], numbers[0] + len(here)))
        assert {slot["HOROVOD_LOCAL_SIZE"] for slot in here} == {str(len(here))}
        assert {slot["HOROVOD_HOSTNAME"] for slot in here} == {host}


@given(HOSTS)
def test_cross_ranks_number_the_hosts_that_have_that_local_rank(hosts):
    slots = ranks(hosts)
    for local in {slot["HOROVOD_LOCAL_RANK"] for slot in slots}:
        across = [slot for slot in slots if slot["HOROVOD_LOCAL_RANK"] == local]
        assert sorted(int(slot["HOROVOD_CROSS_RANK"]) for slot in across) == list(range(len(across)))
        assert {slot["HOROVOD_CROSS_SIZE"] for slot in across} == {str(len(across))}


def test_all_ranks_meet_where_task_0_is():
    slots = assign_ranks([Place("a", "10.0.0.1", 4321), Place("b", "10.0.0.2")])
    assert {(s["HOROVOD_GLOO_RENDEZVOUS_ADDR"], s["HOROVOD_GLOO_RENDEZVOUS_PORT"]) for s in slots} == {
        ("10.0.0.1", "4321")
    }


def test_a_rank_on_loopback_among_others_is_refused_by_its_host():
    with pytest.raises(UserError, match=r"Spark knows b as 127\.0\.0\.1.*SPARK_LOCAL_IP"):
        assign_ranks([Place("a", "10.0.0.1", 4321), Place("b", "127.0.0.1")])
