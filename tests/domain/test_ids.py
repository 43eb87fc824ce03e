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
