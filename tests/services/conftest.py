"""Three workers that serve all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.services.ranks import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    workers = Ranks(3)
    yield workers
    workers.close()
