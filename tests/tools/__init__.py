"""Tests of the project's own tools, where they decide something."""
