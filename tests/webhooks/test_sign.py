import base64
import time
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from service.domain.event import Secrets
from service.webhooks import sign

BODY = '{"type":"job.succeeded","data":{"prompt":"ein Übermut \\u2603"}}'.encode()


def test_the_standards_own_example_is_signed_as_it_says() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, libraries: the vector of its tests.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)

    found = sign.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [secret], at)

    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_independent_library_accepts_it() -> None:
    secrets = Secrets.new()
    made = sign.headers("msg_1", BODY, [secrets.present], datetime.now(UTC))

    assert (
        Webhook(sign.encode_secret(secrets.present)).verify(BODY, made)["type"] == "job.succeeded"
    )


@pytest.mark.parametrize("change", ["body", "id", "time", "secret"])
def test_whatever_is_changed_is_noticed(change: str) -> None:
    secret, body, now = Secrets.new().present, BODY, datetime.now(UTC)
    made = sign.headers("msg_1", body, [secret], now)
    if change == "body":
        body = body.replace(b"succeeded", b"succeedee")
    elif change == "id":
        made["webhook-id"] = "msg_2"
    elif change == "time":
        made["webhook-timestamp"] = str(int(time.time()) + 1)
    else:
        secret = Secrets.new().present

    with pytest.raises(WebhookVerificationError):
        Webhook(sign.encode_secret(secret)).verify(body, made)


def test_an_old_signature_is_refused_as_a_replay() -> None:
    secret = Secrets.new().present
    made = sign.headers("msg_1", BODY, [secret], datetime.now(UTC) - timedelta(minutes=6))

    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(sign.encode_secret(secret)).verify(BODY, made)


def test_while_a_secret_rotates_both_open_it_and_then_only_the_new_one() -> None:
    now = datetime.now(UTC)
    before = Secrets.new()
    after = before.rotated(now)

    both = sign.headers("msg_1", BODY, after.signing(now), now)
    for secret in (before.present, after.present):
        Webhook(sign.encode_secret(secret)).verify(BODY, both)

    one = sign.headers("msg_1", BODY, after.signing(now + timedelta(hours=25)), now)
    Webhook(sign.encode_secret(after.present)).verify(BODY, one)
    with pytest.raises(WebhookVerificationError):
        Webhook(sign.encode_secret(before.present)).verify(BODY, one)


def test_a_secret_is_shown_as_the_standard_says() -> None:
    shown = sign.encode_secret(Secrets.new().present)

    assert shown.startswith("whsec_")
    assert 24 <= len(base64.b64decode(shown.removeprefix("whsec_"))) <= 64
