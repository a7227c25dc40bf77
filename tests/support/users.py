"""What a test needs of the user it runs as."""

import os

import pytest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it changes users")
