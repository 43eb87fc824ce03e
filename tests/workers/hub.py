"""A hub on this disk, in place of the one that huggingface_hub asks."""

import shutil
from pathlib import Path

from service.workers.weights import Fetch


def make_hub(repositories: dict[str, Path], cache: Path) -> Fetch:
    """A hub on this disk: gives the files that match the patterns, at a commit only."""

    def fetch(repo_id: str, *, revision: str, allow_patterns: list[str]) -> str:
        from huggingface_hub.utils import filter_repo_objects

        assert len(revision) == 40
        source = repositories[repo_id]
        names = (str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
        for name in filter_repo_objects(names, allow_patterns=allow_patterns):
            target = cache / repo_id / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target)
        return str(cache / repo_id)

    return fetch
