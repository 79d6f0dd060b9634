"""What goes wrong with Ray is one line that says what to do."""

from __future__ import annotations

import pytest

from agents.cluster import start_ray
from economy.errors import SetupError
from infra.broker import free_port


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nowhere", "127.0.0.1:99999999"])
def test_a_cluster_that_does_not_answer_is_named_at_once(address: str) -> None:
    address = address.format(port=free_port())
    with pytest.raises(SetupError, match=f"no Ray cluster answers at {address}"):
        start_ray(address, "")
