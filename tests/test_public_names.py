"""The package's front door."""

import subprocess
import sys

import evojax_mtl


def test_every_public_name_is_there_and_at_home():
    for name in evojax_mtl.__all__:
        value = getattr(evojax_mtl, name)
        home = getattr(value, "__module__", None)
        assert home is None or home.startswith("evojax_mtl.")


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(evojax_mtl, "no_such_name")


def test_importing_the_package_imports_no_jax():
    code = "import sys, evojax_mtl; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
