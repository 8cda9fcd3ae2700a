"""What all tests share: how thorough they are, and what the project asks of its conformance tests."""

import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ("pytester", "required_stores", "model_summary", "tests.alone")

# What helpers of tests assert says as much when it fails as what tests assert themselves.
pytest.register_assert_rewrite("tests")

# Tests have clients of their own and fork beside them; ours leave the children alone by themselves.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# How long examples take says more about who else is at work than about them.
settings.register_profile("gate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("gate"), max_examples=25)
settings.register_profile("versions", settings.get_profile("quick"))
settings.register_profile("long", settings.get_profile("gate"), max_examples=2000)
settings.load_profile(os.environ.get("ONCETASK_EFFORT", "gate"))
