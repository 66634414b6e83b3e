"""The tree keeps the rules of tests/lint/lint.py."""
import os
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
root = os.environ.get("WEIR_SOURCE_DIR", os.path.join(here, "..", ".."))
sys.exit(subprocess.call([sys.executable, os.path.join(here, "lint.py"), root]))
