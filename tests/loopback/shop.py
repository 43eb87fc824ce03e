"""A small App for the tests of the loopback Modal: web, worker, cron, Volume, Dict, Secret."""

import os
import sys
import time
from pathlib import Path

import modal

say = sys.stdout.write
image = modal.Image.debian_slim(python_version="3.11").env({"COLOUR": "deep blue"})
app = modal.App("shop", include_source=False, image=image.add_local_python_source("shop", "goods"))
files = modal.Volume.from_name("shop-files", create_if_missing=True)
weights = modal.Volume.from_name("shop-weights", create_if_missing=True)
keys = modal.Secret.from_name("shop-keys", required_keys=["SHOP_KEY"])


@app.cls(
    gpu=["L40S", "A100-80GB"],
    volumes={"/shop/files": files, "/shop/weights": weights.read_only()},
    secrets=[keys],
    timeout=60,
    scaledown_window=5,
    max_containers=2,
)
class Maker:
    @modal.enter()
    def load(self) -> None:
        self.key = os.environ["SHOP_KEY"]

    @modal.method()
    def make(self, name: str, gate: str = "") -> dict:
        """Waits at the gate, a file of the test's, before it writes."""
        import goods

        say(f"makes {name} {modal.current_function_call_id()}\n")
        try:
            while gate and not Path(gate).exists():
                time.sleep(0.02)
        except BaseException as exc:
            say(f"interrupted by {type(exc).__name__}\n")
            raise
        Path("/shop/files", name).write_text(goods.wrap(name))
        files.commit()
        return {"name": name, "key": self.key, "colour": os.environ["COLOUR"]}

    @modal.method()
    def echo(self, data: bytes) -> bytes:
        return data

    @modal.exit()
    def leave(self) -> None:
        say("leaves\n")


@app.function(max_containers=1, scaledown_window=60)
@modal.concurrent(max_inputs=100)
@modal.asgi_app(label="shop")
def web():
    import goods

    return goods.site()


@app.function(schedule=modal.Cron("* * * * *"), scaledown_window=2)
def tidy() -> str:
    return "tidied"
