"""What several tests of networks use."""

import jax
import pytest


@pytest.fixture(params=["cpu", "default"])
def platform(request, monkeypatch):
    """Both forms of what depends on the platform."""

    def choose(*arguments, cpu, default):
        return {"cpu": cpu, "default": default}[request.param](*arguments)

    monkeypatch.setattr(jax.lax, "platform_dependent", choose)
