"""A program that does what its environment says: run as other programs of the package are."""

import os

if __name__ == "__main__":
    exec(os.environ["MISBEHAVE"])
