"""What all tests share: how thorough they are, and what the project asks of its conformance tests."""

import os

from hypothesis import settings

pytest_plugins = ("pytester", "required_stores", "model_summary", "tests.alone")

settings.register_profile("gate", deadline=None, derandomize=True)
settings.register_profile("quick", settings.get_profile("gate"), max_examples=25)
settings.register_profile("versions", settings.get_profile("quick"))
settings.register_profile("long", settings.get_profile("gate"), max_examples=2000)
settings.load_profile(os.environ.get("ONCETASK_EFFORT", "gate"))
