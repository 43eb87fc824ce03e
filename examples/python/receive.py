"""Receive webhooks, each once: `python receive.py inbox.db`, on PORT (8000).

Needs standardwebhooks (`pip install standardwebhooks`), and in RUSHES_WEBHOOK_SECRET what
`GET /v1/webhook-secret` of the service returns.
"""

import os
import re
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

MAX_BODY_BYTES = 20_000  # the service sends no more

secret = os.environ.get("RUSHES_WEBHOOK_SECRET", "")
if not re.fullmatch(r"whsec_[A-Za-z0-9+/]{32,}={0,2}", secret):  # an empty one verifies forgeries
    sys.exit("set RUSHES_WEBHOOK_SECRET to what GET /v1/webhook-secret returns: whsec_…")
webhook = Webhook(secret)
inbox = sqlite3.connect(sys.argv[1])
inbox.execute("CREATE TABLE IF NOT EXISTS inbox (webhook_id TEXT PRIMARY KEY, event TEXT)")


class Receiver(BaseHTTPRequestHandler):
    timeout = 15  # of a sender that says nothing

    def do_POST(self) -> None:
        self.send_response(self.receive())
        self.end_headers()

    def receive(self) -> int:
        """Return the status of the response: after anything but 2xx the webhook comes again."""
        length = int(self.headers.get("Content-Length", 0))
        if length > MAX_BODY_BYTES:
            return 413
        body = self.rfile.read(length)
        try:
            event = webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):  # another sender
            return 401
        # A webhook may come more than once, with the same id. It is on disk before the response.
        with inbox:
            row = (self.headers["webhook-id"], body.decode())
            is_new = inbox.execute("INSERT OR IGNORE INTO inbox VALUES (?, ?)", row).rowcount == 1
        if is_new:
            print(event["type"], event["data"]["id"], flush=True)  # or start what comes next
        return 204


server = HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver)
print("listening on", server.server_port, flush=True)
server.serve_forever()
