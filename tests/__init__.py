"""Tests, beside what they test by name."""

import pytest

# So that its assertions, too, say what they compared.
pytest.register_assert_rewrite("tests.project")
