from itertools import product
from typing import get_args

import pytest

from service.domain.job import ACTIVE, FINAL, MOVES, JobState, sources
from service.domain.kinds import KINDS, AnyRequest, JobParams
from service.domain.request import JobKind
from service.lifecycle.model_choices import _RESOLVERS


@pytest.mark.parametrize(("current", "target"), list(product(JobState, JobState)))
def test_sources_and_moves_tell_the_same_story(current: JobState, target: JobState) -> None:
    assert (current in sources(target)) == (target in MOVES[current])


def test_every_state_is_reachable_from_queued() -> None:
    reached, edge = {JobState.QUEUED}, {JobState.QUEUED}
    while edge:
        edge = {target for state in edge for target in MOVES[state]} - reached
        reached |= edge

    assert reached == set(JobState)


def test_final_states_lead_nowhere_and_active_ones_have_a_worker() -> None:
    assert {"succeeded", "failed", "canceled", "expired"} == FINAL
    assert {"starting", "running"} == ACTIVE
    assert all(state.final == (state in FINAL) for state in JobState)


def test_every_kind_of_job_has_its_params_and_its_request() -> None:
    requests = get_args(get_args(AnyRequest)[0])

    assert list(get_args(JobKind)) == list(KINDS)
    assert [request.model_fields["kind"].default for request in requests] == list(KINDS)
    assert [rule.params for rule in KINDS.values()] == list(get_args(JobParams))
    assert list(_RESOLVERS) == list(KINDS)
    assert all(rule.params.kind == kind == rule.options.kind for kind, rule in KINDS.items())
