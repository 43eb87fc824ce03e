"""What the settings fill in by themselves."""

from pathlib import Path

import pytest

from service.settings import Settings
from service.store.schema import check_schema, migrate


@pytest.mark.parametrize("name", ["a?b", "50%20 off", "c#d", "e&f=g", "h'i", "ü"])
def test_the_database_lies_in_the_data_directory_whatever_its_name(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    settings = Settings(_env_file=None, data_dir=folder)

    migrate(settings.database_url)
    check_schema(settings.database_url)

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (folder / "rushes.db").stat().st_size > 0


def test_a_database_on_a_volume_is_known_in_a_folder_of_any_name(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / "a?b", database_volume="rows")

    assert settings.is_offsite
