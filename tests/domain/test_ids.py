from service.domain import ids


def test_ids_sort_as_they_were_made() -> None:
    made = [ids.new("job") for _ in range(300)]

    assert made == sorted(made)
    assert len(set(made)) == 300


def test_a_uuid7_says_so() -> None:
    value = ids.uuid7()

    assert (value.version, value.variant) == (7, "specified in RFC 4122")


def test_only_the_shape_of_an_id_is_one() -> None:
    good = ids.new("job")

    assert ids.is_id("job", good)
    assert not ids.is_id("key", good)
    for bad in ("", "job_", good + "0", good.upper(), good[:-1], "job_" + "w" * 26, good + "\n"):
        assert not ids.is_id("job", bad)


def test_ids_go_on_above_the_last_one_when_the_clock_is_set_back() -> None:
    now = [1_800_000_000_000_000_000]
    stamps = ids.Stamps(lambda: now[0])
    made = [ids.new("job", stamps)]

    now[0] -= 3600 * 10**9
    made += [ids.new("job", stamps) for _ in range(5000)]
    now[0] += 3601 * 10**9
    made.append(ids.new("job", stamps))

    assert made == sorted(made)
    assert ids.made_at(made[-1]).timestamp() == 1_800_000_001


def test_ids_stay_above_one_that_another_process_made() -> None:
    others = ids.new("job", ids.Stamps(lambda: 1_800_000_000_000_000_000))
    stamps = ids.Stamps(lambda: 1_700_000_000_000_000_000)

    stamps.stay_above(others)

    assert ids.new("job", stamps) > others
